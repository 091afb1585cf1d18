"""Runs an action that somebody on this side of the hub asks for, such as a client of the owner's MQTT broker.

It is the same action as a command's, refused by the same settings, and what must not run beside others waits for its turn, also with the
hub's commands. It is not in the journal: whoever asks is there, and asks again where there was no answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from edgeagent import actions
from edgeagent.actions import Action, Context, Outcome
from edgeagent.command import is_final
from edgeagent.errors import EdgeError
from edgeagent.patterns.turn import Turn
from edgeagent.settings import Settings
from edgeagent.times import duration

__all__ = ["LocalRuns"]

log = logging.getLogger("edgeagent")

#: How long an action may take to end when it is told to, in seconds.
GRACE_SECONDS = 20.0

MakeContext = Callable[[str, Callable[[bytes], None], asyncio.Event], Context]


class LocalRuns:
    """settings: of agent.toml. context: makes what an action is given, from an id, what takes its output, and what ends it. turn: as
    :class:`~edgeagent.patterns.commandqueue.CommandQueue` has it."""

    def __init__(self, settings: Settings, context: MakeContext, turn: Turn | None = None) -> None:
        self._settings, self._context, self._turn = settings, context, turn or Turn()

    async def run(self, by: str, name: str, args: Mapping[str, Any]) -> Outcome:
        """How it ended; ``refused`` when this device does not do it, ``expired`` when its turn did not come in time. by: who asks, for the
        log."""
        if refusal := actions.refusal(self._settings, name, args):
            return Outcome("refused", refusal)
        found = actions.find(name)
        assert found is not None  # else it had been refused
        typed = actions.arguments(found, args)
        if found.concurrent:
            return await self._begun(by, found, typed)
        if not await self._turn.wait(found.default_expiry_seconds):
            return Outcome("expired", f"others ran for {duration(found.default_expiry_seconds)}")
        try:
            return await self._begun(by, found, typed)
        finally:
            self._turn.left()

    async def _begun(self, by: str, action: Action, args: Any) -> Outcome:
        if refusal := actions.refusal(self._settings, action.name, args):  # it may have been locked while it waited
            return Outcome("refused", refusal)
        log.info("runs for %s: %s", actions.printable(by), actions.described(action.name, args))
        return await self._ended(action, args)

    async def _ended(self, action: Action, args: Any) -> Outcome:
        cancelled = asyncio.Event()
        work = asyncio.ensure_future(action.begin(self._context("", lambda data: None, cancelled), args))
        try:
            done, _ = await asyncio.wait({work}, timeout=action.timeout_seconds)
            if not done:
                cancelled.set()
                await asyncio.wait({work}, timeout=GRACE_SECONDS)
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=GRACE_SECONDS)
        if cancelled.is_set():
            return Outcome("timed_out", f"it took longer than {duration(action.timeout_seconds)}")
        return _judged(action, work)


def _judged(action: Action, work: asyncio.Future[Outcome]) -> Outcome:
    error = work.exception()
    if isinstance(error, EdgeError):
        return Outcome("failed", str(error))
    if error is not None:
        log.error("the action %s failed", action.name, exc_info=error)
        return Outcome("failed", f"{type(error).__name__}: {error}")
    found = work.result()
    if not isinstance(found, Outcome) or not is_final(found.state):
        return Outcome("failed", f"the action {action.name} did not say how it ended")
    return found
