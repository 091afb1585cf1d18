"""How findings look on a terminal, and in a pipe."""

from __future__ import annotations

import json

import pytest
import typer

from edgeagent.assembly.findings import Finding
from edgeagent.cli.findings import lines, show

BAD = Finding(
    "wrong",
    "the certificate at tls://hub.example:7422 is not signed by an authority that this device trusts",
    "enrol again, if the hub was made anew: `sudo edgeagent enroll --force`; if not, somebody is in between",
    "tls",
)


def test_in_a_pipe_a_line_is_as_long_as_it_is() -> None:
    assert [*lines(BAD, None)] == [f"WRONG  tls          {BAD.text}", f"{' ' * 20}{BAD.remedy}"]
    assert [*lines(Finding("good", "word text"), None)] == ["ok     word text"]


def test_on_a_terminal_words_and_commands_stay_whole() -> None:
    found = [*lines(BAD, 80)]
    assert all(len(line) < 80 for line in found) and all(line.startswith(" " * 20) for line in found[1:])
    assert any("`sudo edgeagent enroll --force`" in line for line in found)
    assert " ".join(line.strip() for line in found).endswith(BAD.remedy)
    assert [*lines(BAD, 30)] == [*lines(BAD, None)], "too narrow for anything"


def test_what_devices_and_files_say_moves_no_cursor() -> None:
    assert "\x1b" not in "".join(lines(Finding("warn", "it says: \x1b[2J", "\x1b]0;x"), 80))


def test_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        show([BAD], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"level": "wrong", "text": BAD.text, "remedy": BAD.remedy, "check": "tls"}]
    show([Finding("good", "x"), Finding("unknown", "y", "z")], as_json=True)
    assert "check" not in capsys.readouterr().out
