"""Where an export goes: a file that is there is whole."""

from __future__ import annotations

import os
import pty
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edgeagent.cli.exporting import Progress, target
from edgeagent.direct import Stored
from edgeagent.errors import Failed, Unreachable


def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with target(path) as out:
        out.write("a,b\n")
        assert not path.exists()
    assert path.read_text() == "a,b\n" and list(tmp_path.iterdir()) == [path]


def test_after_an_error_there_is_none_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(Unreachable, match="the hub"), target(path) as out:
        out.write("half")
        raise Unreachable("read", "the hub went away")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(Failed, match=r"cannot write .*: there is no such file or folder\. Check the path"),
        target(tmp_path / "no" / "out.csv"),
    ):
        pass
    with pytest.raises(Failed, match="no space left on the disk"), target(tmp_path / "out") as out:
        raise OSError(28, "No space left on device") if out else AssertionError


def test_without_a_file_it_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with target(None) as out:
        out.write("a\x1b\n")
    assert capsys.readouterr().out == "a\x1b\n", "a program gets text as it is"


def test_progress_is_for_terminals_and_the_summary_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("samples", None) as progress:
        progress.add_chunk(Stored("edge.from.pi-01.metric", 1, datetime.now(timezone.utc), b"x" * 1_500_000, False))
        progress.count += 1234
    assert capsys.readouterr().err == ""
    assert progress.summary().startswith("1,234 samples in ")


def test_on_a_terminal_progress_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, os.fdopen(leader, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr("edgeagent.cli.exporting.SHOW_SECONDS", -1)
        with Progress("samples", Path("out")) as progress:
            progress.add_chunk(Stored("edge.from.pi-01.metric", 1, datetime.now(timezone.utc), b"x", False))
        shown = screen.read(1000).decode()
    assert shown.startswith("\r0 samples so far, ") and shown.endswith("\r\x1b[K")
