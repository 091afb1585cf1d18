"""The lock of a device, and the commands that set it and end it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeagent import commandlock
from edgeagent.cli import app
from edgeagent.commandlock import FILE, Locked
from edgeagent.errors import Failed

ADA = Locked(by="ada", since="2026-01-01T08:00:00.000Z")


def test_locked_and_unlocked(tmp_path: Path) -> None:
    assert commandlock.read(tmp_path) is None
    assert commandlock.lock(tmp_path, ADA) == ADA == commandlock.read(tmp_path)
    assert commandlock.unlock(tmp_path) == ADA
    assert commandlock.read(tmp_path) is None is commandlock.unlock(tmp_path)


def test_the_first_lock_counts(tmp_path: Path) -> None:
    commandlock.lock(tmp_path, ADA)
    assert commandlock.lock(tmp_path, Locked(by="bob")) == ADA == commandlock.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"by":1}'], ids=["empty", "half", "list", "no-text", "number"])
def test_a_damaged_file_locks_as_well(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert commandlock.read(tmp_path) == Locked()
    commandlock.unlock(tmp_path)
    assert commandlock.read(tmp_path) is None


def test_what_is_no_file_locks_as_well(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    assert commandlock.read(tmp_path) == Locked()
    with pytest.raises(Failed, match="it is a folder"):
        commandlock.unlock(tmp_path)


def test_how_it_reads() -> None:
    assert str(ADA) == "locked by ada since 2026-01-01T08:00:00.000Z"
    assert str(Locked(by="ada", note="roof")) == "locked by ada: roof"
    assert str(Locked()) == "locked"


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text('[paths]\nstate = "state"\n')
    (tmp_path / "state").mkdir()
    return file


def test_the_commands(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    said = [
        CliRunner().invoke(app, [*words, "--settings", str(settings_file)]).output
        for words in (["lock", "--note", "roof"], ["lock"], ["unlock"], ["unlock"])
    ]
    assert said[0] == "Locked: no commands until `sudo edgeagent unlock`.\n"
    assert said[1].startswith("It is locked by ada since ") and ": roof already" in said[1]
    assert said[2].startswith("Unlocked; it was locked by ada since ")
    assert not any(re.search(r"\dT\d", text) for text in said), "times are told as they read here"
    assert said[3] == "It was not locked.\n"


def test_the_file_says_who_and_why(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    CliRunner().invoke(app, ["lock", "-m", "a\x1bb", "--settings", str(settings_file)])
    found = json.loads((settings_file.parent / "state" / FILE).read_bytes())
    assert (found["by"], found["note"]) == ("ada", "a\\x1bb") and found["since"].endswith("Z")


@pytest.mark.parametrize("word", ["lock", "unlock"])
def test_without_an_agent_there_is_nothing_to_lock(settings_file: Path, word: str) -> None:
    (settings_file.parent / "state").rmdir()
    result = CliRunner().invoke(app, [word, "--settings", str(settings_file)])
    assert isinstance(result.exception, Failed) and "there is no" in str(result.exception)


def test_somebody_without_rights_is_told_so(tmp_path: Path) -> None:
    """As nobody, where we are root; else the state folder is closed to ourselves."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / FILE).write_text("{}")
    state.chmod(0o000)
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom edgeagent import commandlock\nfrom edgeagent.errors import Refused\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "assert commandlock.read(Path(sys.argv[1])) == commandlock.Locked()\n"
        "for work in (lambda path: commandlock.lock(path, commandlock.Locked()), commandlock.unlock):\n"
        "    try: work(Path(sys.argv[1]))\n"
        "    except Refused: continue\n"
        "    sys.exit('not refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(state)], capture_output=True, text=True, check=False)
    state.chmod(0o700)
    assert (done.returncode, done.stderr) == (0, "")
