"""``gpio.read``, ``gpio.write`` and ``gpio.pulse``: the pins that agent.toml names."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from msgspec import Meta

from edgeagent.actions import HOUR, Arguments, Context, Outcome, action
from edgeagent.errors import EdgeError, Refused
from edgeagent.gpiosettings import PIN_NAME, PIN_NAME_RULE
from edgeagent.patterns.gpio import Pins
from edgeagent.settings import Settings

__all__: list[str] = []

#: A pin is switched by somebody who waits for it.
EXPIRY_SECONDS = 30
#: The longest pulse that agent.toml can allow, and what is around it.
PULSE_TIMEOUT_SECONDS = 3610

_Name = Annotated[str, Meta(pattern=PIN_NAME, description="The pin's name in agent.toml.", extra={"form": PIN_NAME_RULE})]


class Read(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pin: _Name


class Write(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pin: _Name
    value: Annotated[int, Meta(description="1 switches it on, 0 off.", ge=0, le=1)]


class Pulse(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pin: _Name
    seconds: Annotated[float, Meta(description="How long it is on.", gt=0, le=3600)] = 1.0


def _refuse_read(settings: Settings, args: Read) -> str:
    return "" if args.pin in settings.gpio.pins else f"`[gpio.pins.{args.pin}]`"


def _refuse_write(settings: Settings, args: Write | Pulse) -> str:
    pin = settings.gpio.pins.get(args.pin)
    return "" if pin and pin.direction == "output" else f'`[gpio.pins.{args.pin}]` with `direction = "output"`'


def _refuse_pulse(settings: Settings, args: Pulse) -> str:
    if missing := _refuse_write(settings, args):
        return missing
    longest = settings.gpio.pins[args.pin].max_pulse_seconds
    return "" if args.seconds <= longest else f"`gpio.pins.{args.pin}.max_pulse_seconds` of {args.seconds:g}; it is {longest:g}"


def _outcome(pin: str, value: int | None) -> Outcome:
    return Outcome("succeeded", value={"pin": pin, "value": value})


def _not_done(error: EdgeError) -> Outcome:
    return Outcome("refused" if isinstance(error, Refused) else "failed", str(error))


@action(
    "gpio.read",
    arguments=Read,
    description="Whether a pin is on (1) or off (0).",
    default_expiry_seconds=EXPIRY_SECONDS,
    max_expiry_seconds=HOUR,
    idempotent=True,
    concurrent=True,
    refuse=_refuse_read,
)
async def read(context: Context, args: Read) -> Outcome:
    try:
        return _outcome(args.pin, Pins(context.settings, context.machine).read(args.pin))
    except EdgeError as error:
        return _not_done(error)


@action(
    "gpio.write",
    arguments=Write,
    description="Switch an output on or off; it stays so.",
    default_expiry_seconds=EXPIRY_SECONDS,
    max_expiry_seconds=HOUR,
    idempotent=True,
    refuse=_refuse_write,
)
async def write(context: Context, args: Write) -> Outcome:
    try:
        Pins(context.settings, context.machine).write(args.pin, args.value)
    except EdgeError as error:
        return _not_done(error)
    return _outcome(args.pin, args.value)


def _off_again(context: Context, args: Pulse, before_boot: str) -> Any:
    """The agent was killed in between. How long the output was on cannot be known, but it must not be on for ever."""
    if not _refuse_write(context.settings, args):
        Pins(context.settings, context.machine).write(args.pin, 0)


@action(
    "gpio.pulse",
    arguments=Pulse,
    description="Switch an output on, and off again after some time.",
    default_expiry_seconds=EXPIRY_SECONDS,
    max_expiry_seconds=HOUR,
    timeout_seconds=PULSE_TIMEOUT_SECONDS,
    recover=_off_again,
    refuse=_refuse_pulse,
)
async def pulse(context: Context, args: Pulse) -> Outcome:
    try:
        cancelled = await _on_and_off(context, args)
    except EdgeError as error:
        return _not_done(error)
    return Outcome("cancelled", "it was switched off before its time") if cancelled else _outcome(args.pin, 0)


async def _on_and_off(context: Context, args: Pulse) -> bool:
    """True: it was cancelled. However this ends, and also when the agent stops, the output is off then."""
    pins, cancelled = Pins(context.settings, context.machine), asyncio.ensure_future(context.cancelled.wait())
    try:
        pins.write(args.pin, 1)
        await asyncio.wait({cancelled}, timeout=args.seconds)
        return cancelled.done()
    finally:
        cancelled.cancel()
        pins.write(args.pin, 0)
