"""How `edgeagent check`, `edgeagent doctor` and `edgeagent hub doctor` show what they found."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from edgeagent.cli.harmless import harmless, json_text

if TYPE_CHECKING:
    from edgeagent.assembly.findings import Finding

__all__ = ["lines", "show"]

_WORDS = {"good": "ok", "warn": "WARN", "wrong": "WRONG", "unknown": "?"}
_COLOURS = {"good": "green", "warn": "yellow", "wrong": "red", "unknown": "cyan"}
#: What stands before the text: the level, and the name of the check.
_LEVEL, _NAME = 7, 13


def show(findings: Sequence[Finding], *, as_json: bool = False, last: str = "") -> None:
    """Print them, and exit with 1 when something is wrong. last: a line for people after them; empty: none."""
    if as_json:
        print(json_text([_record(finding) for finding in findings], indent=2))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for finding in findings:
            word, *rest = lines(finding, width)
            typer.echo(typer.style(word[:_LEVEL], fg=_COLOURS[finding.level]) + word[_LEVEL:])
            for line in rest:
                typer.echo(line)
        if last:
            typer.echo(last)
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(1)


def _record(finding: Finding) -> dict[str, str]:
    found = dataclasses.asdict(finding)
    return found if found["check"] else {name: value for name, value in found.items() if name != "check"}


def lines(finding: Finding, width: int | None) -> Iterable[str]:
    """For people. width: of the terminal in characters; None: as long as they are."""
    name = f"{finding.check:<{_NAME - 1}} " if finding.check else ""
    yield from _wrapped(f"{_WORDS[finding.level]:<{_LEVEL}}{name}", harmless(finding.text), width)
    if finding.remedy and not finding.good:
        yield from _wrapped(" " * (_LEVEL + len(name)), harmless(finding.remedy), width)


def _wrapped(begin: str, text: str, width: int | None) -> list[str]:
    room = (width or 0) - 1
    if room < _LEVEL + _NAME + 20:
        return [begin + text]
    # What is in backquotes is to be copied: it stays on one line.
    parts = (part.replace(" ", "\0") if number % 2 else part for number, part in enumerate(text.split("`")))
    return [line.replace("\0", " ") for line in _fill(begin, "`".join(parts), room)]


def _fill(begin: str, text: str, room: int) -> list[str]:
    indent = " " * (_LEVEL + _NAME)
    return textwrap.wrap(
        text, room, initial_indent=begin, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [begin]
