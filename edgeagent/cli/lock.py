"""``edgeagent lock`` and ``unlock``: who stands at the machine decides whether commands run on it."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent import settings
from edgeagent.cli.options import SettingsFile

if TYPE_CHECKING:
    from edgeagent.commandlock import Locked

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    app.command()(lock)
    app.command()(unlock)


def lock(
    settings_file: SettingsFile = None,
    note: Annotated[str, typer.Option("--note", "-m", help="Why; who sends a command is told.")] = "",
) -> None:
    """Refuse every command on this device until `edgeagent unlock`. It counts at once, and after a reboot.

    What runs already goes on. Configuration and queries are not commands.

    Example: sudo edgeagent lock --note "somebody works on the roof"
    """
    from edgeagent import commandlock
    from edgeagent.actions import printable
    from edgeagent.times import rfc3339

    mine = commandlock.Locked(by=_who(), since=rfc3339(datetime.now(timezone.utc)), note=printable(note))
    found = commandlock.lock(_state(settings_file), mine)
    is_mine = found == mine
    typer.echo(f"{'Locked' if is_mine else f'It is {_told(found)} already'}: no commands until `sudo edgeagent unlock`.")


def unlock(settings_file: SettingsFile = None) -> None:
    """Let commands run on this device again.

    Example: sudo edgeagent unlock
    """
    from edgeagent import commandlock

    found = commandlock.unlock(_state(settings_file))
    typer.echo(f"Unlocked; it was {_told(found)}." if found else "It was not locked.")


def _told(found: Locked) -> str:
    """A lock with its time as it reads here."""
    from edgeagent.cli.cmd_board import with_local_times

    return with_local_times(str(found))


def _state(settings_file: Path | None) -> Path:
    """The state folder. Raises EdgeError when it is not there: then no agent ever ran with these settings."""
    from edgeagent.errors import Failed
    from edgeagent.places import is_there

    state = settings.load_own(settings_file).state_folder
    if not is_there(state):
        raise Failed("lock this device", f"there is no {state}", "name the agent's settings with --settings")
    return state


def _who() -> str:
    """Whoever typed it, also behind sudo."""
    import getpass

    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return f"uid {os.getuid()}"
