"""``app.<program>.<action>``: ask a program that runs on the device, on its leaf. What it takes and answers is the program's own."""

from __future__ import annotations

import asyncio

from edgeagent import localsubjects, subjects
from edgeagent.actions import Action, AnyArguments, Context, Outcome, family
from edgeagent.builtin.actions._outcome import answered, question
from edgeagent.errors import EdgeError

__all__ = ["PREFIX"]

PREFIX = "app."
TIMEOUT_SECONDS = 60.0


def _make(name: str) -> Action | None:
    """The action of that name, None when no program could be meant."""
    words = name.split(".")
    if len(words) != 3 or not subjects.is_id(words[1]):
        return None
    app, what = words[1:]

    async def ask(context: Context, args: AnyArguments) -> Outcome:
        return await _asked(context, app, what, args)

    description = f"Ask the program {app} on the device for {what}."
    return Action(name=name, run=ask, arguments=AnyArguments, description=description, timeout_seconds=TIMEOUT_SECONDS + 10)


async def _asked(context: Context, app: str, what: str, args: AnyArguments) -> Outcome:
    subject, body = localsubjects.local_action(app, what), question(context, what, args.values)
    # Our clock runs out before the request's, so that it can be told from a program that is not there.
    asking = asyncio.ensure_future(context.ask(subject, body, TIMEOUT_SECONDS + 5))
    cancelled = asyncio.ensure_future(context.cancelled.wait())
    try:
        await asyncio.wait({asking, cancelled}, timeout=TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            return _gave_up(context, app)
        return answered(app, asking.result())
    except EdgeError as error:
        return Outcome("failed", str(error))
    finally:
        asking.cancel()
        cancelled.cancel()


def _gave_up(context: Context, app: str) -> Outcome:
    if context.cancelled.is_set():
        return Outcome("cancelled", f"{app} was asked already and may still do it")
    return Outcome("timed_out", f"{app} did not answer within {TIMEOUT_SECONDS:g} s")


family(PREFIX, _make)
