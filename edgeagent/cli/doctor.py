"""``edgeagent doctor``: what may be wrong with the agent of this machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent import settings
from edgeagent.cli.findings import show
from edgeagent.cli.options import SettingsFile

if TYPE_CHECKING:
    from edgeagent.assembly.findings import Finding

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(settings_file: SettingsFile = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Look for what is wrong with the agent of this machine, or soon will be, and say what to do. Exits with 1 when something is wrong.

    With sudo it sees everything; without, what it may not look at is marked with "?". It changes nothing.

    Example: sudo edgeagent doctor
    """
    from edgeagent.doctor.check import Patient
    from edgeagent.doctor.examine import examine

    with _progress() as tell:
        findings = examine(Patient.load(partial(settings.load, settings_file)), on_wait=tell)
    show(findings, as_json=as_json, last=_summary(findings))


def _summary(findings: list[Finding]) -> str:
    levels = [finding.level for finding in findings]
    wrong, warn, unknown = (levels.count(level) for level in ("wrong", "warn", "unknown"))
    parts = [f"{wrong} wrong"] if wrong else ["nothing wrong"]
    parts += [f"{warn} to look at"] if warn else []
    parts += [f"{unknown} not known: `sudo edgeagent doctor` sees more"] if unknown else []
    first = "; begin at the top: it is often why the rest is" if wrong > 1 else ""
    return f"{' · '.join(parts)}{first}"


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[list[str]], None]]:
    """What is waited for, on standard error if that is a terminal; nothing of it stays."""
    if not sys.stderr.isatty():
        yield lambda names: None
        return
    try:
        yield lambda names: _overwrite(f"looking at {', '.join(names)} ...")
    finally:
        _overwrite("")


def _overwrite(text: str) -> None:
    sys.stderr.write(f"\r{text[:79]}\x1b[K")
    sys.stderr.flush()
