"""``logs``: the last lines that a unit wrote to the system's journal, and on request those that it writes from now on."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from msgspec import Meta

from edgeagent.actions import Arguments, Context, Outcome, Transient, action
from edgeagent.actionunits import CLOSED
from edgeagent.builtin.actions._outcome import carried_out
from edgeagent.builtin.actions._units import Unit, full, is_listed
from edgeagent.patterns.programs import Program
from edgeagent.settings import Settings

__all__: list[str] = []

#: How long it may take to read the journal of a card, and how long one is followed at most, in seconds.
READ_SECONDS, FOLLOW_SECONDS = 120.0, 3600.0


class Logs(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    unit: Unit
    lines: Annotated[int, Meta(description="How many of its last lines.", ge=0, le=10_000)] = 100
    follow: Annotated[bool, Meta(description="Go on with what it writes, for an hour or until the command is cancelled.")] = False


def _refuse(settings: Settings, args: Logs) -> str:
    return "" if is_listed(args.unit, settings.logs.allow) else f"`{args.unit}` in `logs.allow`"


@action(
    "logs",
    arguments=Logs,
    description="The last lines of a unit's journal.",
    timeout_seconds=FOLLOW_SECONDS + 10,
    idempotent=True,
    concurrent=True,
    refuse=_refuse,
    unit=Transient(user="root", properties=CLOSED),
)
async def logs(context: Context, args: Logs) -> Outcome:
    path = context.settings.logs.journalctl
    words = ("--no-pager", "--quiet", "--output=short-iso", f"--lines={args.lines}", f"--unit={full(args.unit)}")
    argv = (path, *words, *(("--follow",) if args.follow else ()))
    seconds = FOLLOW_SECONDS if args.follow else READ_SECONDS
    written = False

    def write(data: bytes) -> None:
        nonlocal written
        written = True
        context.write(data)

    program = Program(argv=argv, file=context.machine.path(path), timeout_seconds=seconds)
    outcome = await carried_out(replace(context, write=write), program)
    if outcome.state == "succeeded" and args.lines and not written:
        return replace(outcome, reason=f"the journal has no line of {full(args.unit)}")
    if args.follow and outcome.state == "timed_out":  # as was announced
        return replace(outcome, state="succeeded", reason="", exit_code=None)
    return outcome
