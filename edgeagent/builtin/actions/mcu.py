"""``mcu.<id>.<action>``: have a microcontroller of the device do something that it knows. ``mcu.logs``: what it printed lately. ``mcu.add``,
``mcu.rm``: which ones on a wire belong to the device."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from edgeagent import subjects
from edgeagent.actions import HOUR, Action, AnyArguments, Arguments, Context, Microcontrollers, Outcome, action, family, printable
from edgeagent.builtin.actions._outcome import answered
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.mcumessages import UPDATES
from edgeagent.times import moment, rfc3339

__all__ = ["PREFIX", "action_of"]

PREFIX = "mcu."
#: Somebody waits for it, beside the machine as often as not: a lamp must not go on an hour later.
EXPIRY_SECONDS = 30
#: How long it may take to answer, in seconds.
TIMEOUT_SECONDS = 30.0
_ID = r"^[a-z0-9][a-z0-9-]{0,62}\Z"

_Id = Annotated[str, Meta(pattern=_ID, description="The microcontroller's id.", extra={"form": subjects.ID_RULE})]

_NONE = "this device has no microcontrollers: `edgeagent mcu add` on it makes one known"


def _make(name: str) -> Action | None:
    """The action of that name, None when no microcontroller could be meant.

    Firmware is replaced by ``mcu.update`` alone, which names all of it: ``mcu.oven.*`` in a list is for what the firmware does.
    """
    words = name.split(".", 2)
    if len(words) != 3 or not subjects.is_id(words[1]) or words[2].startswith(UPDATES):
        return None
    return action_of(*words[1:])


def action_of(mcu_id: str, what: str) -> Action:
    """The action that has one do what only it knows."""

    async def have_it_done(context: Context, args: AnyArguments) -> Outcome:
        if context.mcus is None:
            return Outcome("refused", _NONE)
        return await _done(context, context.mcus, mcu_id, what, args)

    return Action(
        name=f"{PREFIX}{mcu_id}.{what}",
        run=have_it_done,
        arguments=AnyArguments,
        description=f"Have the microcontroller {mcu_id} on the device do {what}.",
        default_expiry_seconds=EXPIRY_SECONDS,
        max_expiry_seconds=HOUR,
        timeout_seconds=TIMEOUT_SECONDS + 10,
    )


async def _done(context: Context, mcus: Microcontrollers, mcu_id: str, what: str, args: AnyArguments) -> Outcome:
    doing = asyncio.ensure_future(mcus.command(mcu_id, what, args.values, command_id=context.id, seconds=TIMEOUT_SECONDS))
    cancelled = asyncio.ensure_future(context.cancelled.wait())
    try:
        await asyncio.wait({doing, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            return Outcome("cancelled", f"{mcu_id} was told already and may still do it")
        return answered(mcu_id, msgspec.json.encode({"value": doing.result()}))
    except EdgeError as error:
        return _not_done(error, mcu_id)
    finally:
        doing.cancel()
        cancelled.cancel()


def _not_done(error: EdgeError, mcu_id: str) -> Outcome:
    if isinstance(error, Failed):  # its own word
        return Outcome("failed", f"{mcu_id} says: {printable(error.why, 500)}")
    if isinstance(error, Unreachable):
        return Outcome("timed_out", f"{error.why}; {mcu_id} may have done it")
    return Outcome("refused" if isinstance(error, (Refused, UsageProblem)) else "failed", str(error))


family(PREFIX, _make)


class Logs(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mcu: _Id
    lines: Annotated[int, Meta(description="How many of its last lines.", ge=1, le=200)] = 100


@action(
    "mcu.logs",
    arguments=Logs,
    description="What a microcontroller on the device printed lately.",
    idempotent=True,
    concurrent=True,
)
async def logs(context: Context, args: Logs) -> Outcome:
    if context.mcus is None:
        return Outcome("refused", _NONE)
    try:
        found = context.mcus.lines(args.mcu)[-args.lines :]
    except EdgeError as error:
        return Outcome("refused", str(error))
    for time, text in found:
        context.write(f"{rfc3339(moment(time))} {text}\n".encode())
    return Outcome("succeeded", "" if found else f"{args.mcu} has printed nothing since the agent started")


class Add(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mcu: _Id
    usb: Annotated[str, Meta(description="Vendor and product of its USB device, with its serial number: `2e8a:0005:E661`.")] = ""
    port: Annotated[str, Meta(description="Its port instead: `/dev/ttyAMA0`.")] = ""
    baud: Annotated[int, Meta(description="Bits a second.", ge=300, le=4_000_000)] = 115200
    lines: Annotated[str, Meta(description="It prints plain lines: `json`, `line_protocol` or `regex`.")] = ""
    pattern: Annotated[str, Meta(description="For `regex`.", max_length=500)] = ""


class Remove(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mcu: _Id


@action(
    "mcu.add", arguments=Add, description="What is plugged in there belongs to the device, as the microcontroller of that id."
)
async def add(context: Context, args: Add) -> Outcome:
    async def work(mcus: Microcontrollers) -> None:
        await mcus.add(args.mcu, usb=args.usb, port=args.port, baud=args.baud, lines=args.lines, pattern=args.pattern)

    return await _changed(context, work)


@action("mcu.rm", arguments=Remove, description="A microcontroller that was added belongs to the device no longer.")
async def remove(context: Context, args: Remove) -> Outcome:
    return await _changed(context, lambda mcus: mcus.remove(args.mcu))


async def _changed(context: Context, work: Callable[[Microcontrollers], Awaitable[None]]) -> Outcome:
    if context.mcus is None:
        return Outcome("refused", _NONE)
    try:
        await work(context.mcus)
    except EdgeError as error:
        return Outcome("refused" if isinstance(error, (Refused, UsageProblem)) else "failed", str(error))
    return Outcome("succeeded")
