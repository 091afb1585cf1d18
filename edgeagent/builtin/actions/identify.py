"""``identify``: blink the board's own LED, so that who stands before a shelf of them sees which one it is."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgeagent.actions import HOUR, Arguments, Context, Outcome, Transient, action, printable
from edgeagent.actionunits import CLOSED
from edgeagent.machine import Machine

__all__ = ["RULES", "led_of"]

#: The activity LED of a Pi: its name since kernel 5.16, and before.
_LEDS = ("/sys/class/leds/ACT", "/sys/class/leds/led0")
#: How long it is on, and off, in seconds.
BLINK_SECONDS = 0.25
#: What gives the packaged service the right to do it.
RULES = "deploy/udev/70-edgeagent-leds.rules"

_blinking: set[Path] = set()


class Identify(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    seconds: Annotated[float, Meta(description="How long it blinks.", ge=1, le=300)] = 10.0


async def _in_unit(context: Context, args: Identify) -> Outcome:
    led = led_of(context.machine)
    return await _blinked(context, led, args.seconds) if led else Outcome("failed", "the activity LED is gone")


@action(
    "identify",
    arguments=Identify,
    description="Blink the board's activity LED.",
    default_expiry_seconds=30,
    max_expiry_seconds=HOUR,
    timeout_seconds=310,
    idempotent=True,
    concurrent=True,
    unit=Transient(run=_in_unit, user="root", properties=CLOSED),
)
async def identify(context: Context, args: Identify) -> Outcome:
    led = led_of(context.machine)
    if led is None:
        return Outcome("refused", f"this board has no activity LED ({_LEDS[0]} is not there)")
    if led in _blinking:
        return Outcome("succeeded", value={"already": True})
    _blinking.add(led)
    try:
        if context.units is not None:
            return await context.units.run(context, "identify", msgspec.to_builtins(args))
        return await _blinked(context, led, args.seconds)
    finally:
        _blinking.discard(led)


def led_of(machine: Machine) -> Path | None:
    """The folder of the LED that blinks, None when the board has none."""
    return next((machine.path(led) for led in _LEDS if machine.path(f"{led}/brightness").exists()), None)


async def _blinked(context: Context, led: Path, seconds: float) -> Outcome:
    try:
        return await _blink(context, led, seconds)
    except OSError as error:
        return Outcome(
            "failed", f"cannot blink: {error.strerror} ({led}): give the agent's user the right to write there ({RULES} does)"
        )


async def _blink(context: Context, led: Path, seconds: float) -> Outcome:
    """Take the LED from the kernel, blink, and give it back."""
    trigger, brightness = led / "trigger", led / "brightness"
    before = _chosen(trigger.read_text())
    trigger.write_text("none")
    cancelled = asyncio.ensure_future(context.cancelled.wait())
    try:
        for step in range(max(2, round(seconds / BLINK_SECONDS))):
            brightness.write_text("0" if step % 2 else "1")
            await asyncio.wait({cancelled}, timeout=BLINK_SECONDS)
            if cancelled.done():
                return Outcome("cancelled", "it no longer blinks")
    finally:
        cancelled.cancel()
        trigger.write_text(before)
    return Outcome("succeeded")


def _chosen(triggers: str) -> str:
    """The kernel lists all triggers, the one that counts in brackets (Documentation/leds/leds-class)."""
    found = re.search(r"\[([^\]\s]+)\]", triggers)
    return found.group(1) if found else printable(triggers.strip()) or "none"
