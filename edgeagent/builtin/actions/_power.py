"""What ``reboot`` and ``shutdown`` share: systemd is asked, and then the machine goes down under us."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from edgeagent.actions import Context, Outcome, Transient
from edgeagent.actionunits import CLOSED
from edgeagent.builtin.actions._outcome import carried_out
from edgeagent.patterns.programs import Program

__all__ = ["CANCELLED_SECONDS", "GOING_SECONDS", "TIMEOUT_SECONDS", "ask", "goes_down", "is_up_again", "unit_of"]

#: How long systemctl may take to pass it on, and how long until the agent is gone: services may take 90 s to stop, in seconds.
ASK_SECONDS, GOING_SECONDS = 60.0, 300.0
#: How long it may still take once it was cancelled, in seconds; what does not end then is given up (patterns.commandrun.GRACE_SECONDS).
CANCELLED_SECONDS = 15.0
TIMEOUT_SECONDS = ASK_SECONDS + GOING_SECONDS + 10


def unit_of(verb: str) -> Transient:
    """Where systemd is asked."""

    async def there(context: Context, args: Any) -> Outcome:
        return await _told(context, verb)

    return Transient(run=there, user="root", properties=CLOSED)


async def ask(context: Context, action: str, verb: str) -> Outcome:
    """``systemctl reboot`` or ``poweroff``; succeeded: it is on its way. It is not ended when the command is cancelled: nobody could say
    then whether systemd had heard of it."""
    if context.units is not None:
        return await context.units.run(replace(context, cancelled=asyncio.Event()), action, {})
    return await _told(context, verb)


async def _told(context: Context, verb: str) -> Outcome:
    path = context.settings.service.systemctl
    argv = (path, "--no-ask-password", verb)
    deaf = replace(context, cancelled=asyncio.Event())
    return await carried_out(deaf, Program(argv=argv, file=context.machine.path(path), timeout_seconds=ASK_SECONDS))


async def goes_down(context: Context, what: str) -> Outcome:
    """Wait for the end that the machine gives us; what became of it is known after the next boot (:func:`is_up_again`). It can't be called
    off any more: when somebody cancels it and the machine still runs after a while, nobody knows."""
    cancelled = asyncio.ensure_future(context.cancelled.wait())
    try:
        await asyncio.wait({cancelled}, timeout=GOING_SECONDS)
    finally:
        cancelled.cancel()
    if not context.cancelled.is_set():
        return Outcome("failed", f"the machine still runs {GOING_SECONDS:g} s after systemd took the order to {what}")
    await asyncio.sleep(CANCELLED_SECONDS)
    still = f"{CANCELLED_SECONDS:g} s later the machine still ran"
    return Outcome(
        "unknown", f"it was cancelled when systemd had taken the order to {what} already; {still}, so it may yet go down"
    )


def is_up_again(context: Context, args: Any, before_boot: str) -> Outcome | None:
    """It succeeded if this is another boot. Otherwise nobody knows whether systemd heard of it."""
    if before_boot and context.boot and before_boot != context.boot:
        return Outcome("succeeded", value={"boot": context.boot})
    return None
