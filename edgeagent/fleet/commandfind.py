"""Finding a command that was sent before: by its id or how that begins, and one's own newest one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from edgeagent.errors import UsageProblem
from edgeagent.fleet.commandentry import Command
from edgeagent.fleet.commandlogs import recent
from edgeagent.link import Client
from edgeagent.trust.pins import Pins

__all__ = ["find", "newest_of", "note_of_retry", "one_of", "retries", "time_of"]

#: The clock that an id was made with may be so far ahead of the hub's.
ID_AHEAD = timedelta(minutes=15)
#: The shortest beginning of an id that is looked for; all ids of some 34 years begin with the same two letters.
LEAST = 4
_LENGTH, _LETTERS = 26, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_REMEDY = "`edgeagent cmd ls` shows the newest ones"


async def find(client: Client, command_id: str, pins: Pins | None = None) -> Command:
    """The command of this id, which may be cut short. pins: as of :func:`recent`, here and below. Raises UsageProblem when the hub has none, or several."""
    begun = time_of(command_id)
    if begun is None:
        why = f"an id has {_LENGTH} letters and digits, of which the first {LEAST} or more are enough if no other begins so"
        raise UsageProblem(f"find the command {command_id!r}", why, _REMEDY)
    commands: list[Command] = []
    async for found in recent(client, pins, since=begun - ID_AHEAD):
        commands = found
    return one_of(commands, command_id)


def one_of(commands: Sequence[Command], command_id: str) -> Command:
    """The only one of them whose id begins so. Raises UsageProblem. Pure."""
    what = f"find the command {command_id!r}"
    found = [command for command in commands if command.id.startswith(command_id.upper())]
    if not found:
        raise UsageProblem(what, "the hub has no such command", _REMEDY)
    if len(found) > 1:
        shown = ", ".join(command.id for command in found[:3]) + (" and others" if len(found) > 3 else "")
        raise UsageProblem(what, f"{len(found)} begin so: {shown}", "give more of its id")
    return found[0]


def time_of(command_id: str) -> datetime | None:
    """When the oldest id that begins so was made; None for what no id begins with (github.com/ulid/spec)."""
    number = 0
    if not LEAST <= len(command_id) <= _LENGTH:
        return None
    for letter in command_id.upper().ljust(_LENGTH, "0"):
        value = _LETTERS.find(letter)
        if value < 0:
            return None
        number = number * 32 + value
    try:
        return datetime.fromtimestamp((number >> 80) / 1000, timezone.utc)
    except (OverflowError, ValueError):
        return None


async def newest_of(client: Client, person: str, pins: Pins | None = None) -> Command:
    """The newest command of a person. Raises UsageProblem when the hub has none."""
    async for commands in recent(client, pins):
        for command in commands:
            if command.by == person:
                return command
    raise UsageProblem(f"find a command of {person}", "the hub has none", "`edgeagent cmd ls` shows those of others")


def note_of_retry(command_id: str) -> str:
    """By this note it is known again that a command repeats another one."""
    return f"again: {command_id}"


async def retries(client: Client, command: Command, pins: Pins | None = None) -> list[Command]:
    """What was sent as that command once more, the newest first."""
    commands: list[Command] = []
    async for found in recent(client, pins, since=command.time):
        commands = found
    return [found for found in commands if found.note == note_of_retry(command.id)]
