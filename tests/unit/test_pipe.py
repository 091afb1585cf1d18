"""A reader that left is no failure, and what failed stays one."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from edgeagent.cli import cmd_send
from edgeagent.cli.pipe import READER_LEFT, silence
from edgeagent.fleet.commandstatus import FAILED, Row


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Standard output whose reader has left."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        yield output
        monkeypatch.undo()
        silence()


def test_a_command_keeps_its_exit_code(unread: Any) -> None:
    rows, started = [Row(id="pi-01", state="failed")], SimpleNamespace(id="x", until=None)
    assert cmd_send.end(started, rows, as_json=False) == FAILED  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "code"), [("--version", READER_LEFT), ("config keys", READER_LEFT), ("fleet ls --sort x", 2)], ids=str
)
def test_a_program_ends_quietly(tmp_path: Any, words: str, code: int) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgeagent", *words.split()],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
        )
    finally:
        os.close(write)
    assert done.returncode == code and "Broken" not in done.stderr and "Traceback" not in done.stderr
