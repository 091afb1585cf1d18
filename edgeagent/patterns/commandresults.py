"""Telling the hub what becomes of each command; and asking it, before one runs, whether an earlier life of this device has run it.

The hub is the second journal: the first result of a command is stored only if there is none yet. When there is one, it is our own
whose acknowledgement was lost, or that of a life that this device's store knows nothing of (it was rolled back, or made anew).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from edgeagent import actions, subjects, wire
from edgeagent.backoff import delays
from edgeagent.command import Result, is_final, is_former
from edgeagent.direct import get_last
from edgeagent.errors import Closed, EdgeError, Failed, Unreachable
from edgeagent.journal import Journal
from edgeagent.journalrows import Command
from edgeagent.link import Client
from edgeagent.patterns.commandjudge import ended
from edgeagent.publish import published_if
from edgeagent.runtime import woken

__all__ = ["Results", "conflict", "fitted"]

log = logging.getLogger("edgeagent")

STREAM = "EDGE_RESULTS"
#: Results on the way at once: those that say that a command was accepted, and outcomes, which may be large.
CLAIMS, OUTCOMES = 128, 32
#: What a result may have as JSON, so that the stream takes it (256 KiB a message, with its headers).
MAX_BYTES = 248 << 10
#: How deep what the hub has of a command may be nested, so that it can be written here; programs may answer no deeper.
MAX_DEPTH = 16
#: Bounds of the pause after the hub did not take one, in seconds.
RETRY_SECONDS = (0.5, 60.0)
UNKNOWN = "an earlier life of this device accepted it (its store was put back, or made anew), so whether it ran cannot be known"

Decision = Literal["go on", "adopt", "unknown"]


class Found(NamedTuple):
    """What the hub has of a command. sequence: 0 when it has nothing. result: None for nothing, or nothing that makes sense."""

    sequence: int = 0
    result: Result | None = None


def conflict(mine: Result, found: Found, *, began: bool, idempotent: bool) -> Decision:
    """What to do when the hub has another result than was expected. mine: what is to be said. began: it ran in this life.

    "go on": say it over that one. "adopt": that one counts.
    """
    there = found.result
    if not found.sequence:
        return "go on"
    if there is not None and is_final(there.state):
        return "adopt"
    same_life = there is not None and is_former(there.nonce, mine.nonce)
    if began or (same_life and there is not None and (there.state == "accepted" or is_final(mine.state))):
        return "go on"
    return "go on" if idempotent and not is_final(mine.state) else "unknown"


def fitted(result: Result) -> bytes:
    """The result as JSON that the stream takes: of what is too much the end of the output stays, and a value goes."""
    while True:
        try:
            data = wire.encode(result)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:  # a stranger's value or text
            result = _plain(result, error)
            continue
        if len(data) <= MAX_BYTES:
            return data
        if len(result.output) > 1024:
            result = msgspec.structs.replace(result, output=result.output[len(result.output) // 2 :])
        else:
            result = msgspec.structs.replace(
                result, value=None, reason=result.reason or "what it answered is too large to be sent"
            )


def _plain(result: Result, error: Exception) -> Result:
    if result.value is not None:
        return msgspec.structs.replace(result, value=None, reason=f"what it answered cannot be sent ({type(error).__name__})")
    words = {name: getattr(result, name).encode("utf-8", "replace").decode() for name in ("reason", "output", "code")}
    return msgspec.structs.replace(result, **words)


class Results:
    """Publishes what stands in ``journal`` until the hub has acknowledged it.

    on_claimed: called when commands may run now, or have ended here. tell: as :meth:`edgeagent.patterns.events.Events.tell`.
    problem: why the hub takes no results, empty while it does or can't be reached.
    """

    def __init__(
        self, client: Client, device_id: str, journal: Journal, *, on_claimed: Callable[[], None], tell: Callable[..., None]
    ) -> None:
        self._client, self._id, self._journal = client, device_id, journal
        self._on_claimed, self._tell = on_claimed, tell
        self._wake = asyncio.Event()
        self._fences: dict[str, int] = {}
        self.problem = ""

    def wake(self) -> None:
        """There is something to say, or the hub can be reached (again)."""
        self._wake.set()

    async def run(self) -> None:
        """Publish for ever."""
        pauses = delays(*RETRY_SECONDS)
        while True:
            try:
                good = await self._all()
            except Failed as error:  # of the journal
                log.error("%s", error)
                good = False
            pauses = delays(*RETRY_SECONDS) if good else pauses
            await woken(self._wake, None if good else next(pauses))

    async def progress(self, command: Command, result: Result) -> None:
        """Say how far it is; nothing happens when the hub does not take it."""
        fence = self._fences.get(command.id, command.fence or 0)
        sequence = await self._store(result, fence)
        if sequence is not None:
            self._fences[command.id] = sequence

    async def refuse(self, result: Result) -> bool:
        """Tell the hub of a refused command that the journal had no room for, unless the hub has something of it already; whether it has now."""
        try:
            await self._store(result, 0)
        except EdgeError as error:
            log.debug("%s", error)
            return False
        return True

    async def _all(self) -> bool:
        """Say what there is to say; whether all of it was acknowledged."""
        while True:
            claims, outcomes = self._journal.unclaimed(CLAIMS), self._journal.unsettled(OUTCOMES)
            if not claims and not outcomes:
                return True
            said = await asyncio.gather(*(self._say(each) for each in (*claims, *outcomes)), return_exceptions=True)
            errors = [error for error in said if isinstance(error, BaseException)]
            self._keep([found for found in said if not isinstance(found, BaseException)])
            self._note(errors)
            if errors:
                return False

    def _keep(self, said: list[tuple[str, int, bool]]) -> None:
        """(id, sequence, whether nothing is left to do)"""
        if under_way := [(name, sequence) for name, sequence, settled in said if not settled]:
            self._journal.fence(under_way)
        if over := [(name, sequence) for name, sequence, settled in said if settled]:
            self._journal.settle(over)
        for name, _, settled in said:
            if settled:
                self._fences.pop(name, None)
        if said:
            self._on_claimed()

    def _note(self, errors: list[BaseException]) -> None:
        for error in errors:
            if not isinstance(error, EdgeError):
                raise error
        refused = next((error for error in errors if not isinstance(error, (Unreachable, Closed))), None)
        before, self.problem = self.problem, str(refused) if refused else ("" if not errors else self.problem)
        if self.problem and self.problem != before:
            text = f"no command runs until the hub takes results again: {self.problem}"
            self._tell("error", "command.results_refused", text)

    async def _say(self, command: Command) -> tuple[str, int, bool]:
        """Store the command's result; the id, the sequence of what the hub has then, and whether nothing is left to do."""
        fence = self._fences.get(command.id, command.fence or 0)
        sequence = await self._store(command.result, fence)
        if sequence is not None:
            return command.id, sequence, is_final(command.result.state)
        found = await self._found(command.id)
        action = actions.find(command.result.action)
        idempotent = action is not None and action.idempotent
        decision = conflict(command.result, found, began=command.begun > 0, idempotent=idempotent)
        if decision == "adopt" and found.result is not None:
            self._journal.write(found.result)
            return command.id, found.sequence, True
        self._fences[command.id] = found.sequence
        if decision == "unknown":
            self._journal.write(ended(command.result, "unknown", UNKNOWN))
        elif not is_final(command.result.state) and found.result and found.result.nonce == command.result.nonce:
            return command.id, found.sequence, False
        return await self._again(command, found.sequence)

    async def _again(self, command: Command, fence: int) -> tuple[str, int, bool]:
        now = self._journal.command(command.id) or command
        sequence = await self._store(now.result, fence)
        if sequence is None:
            raise Unreachable(f"store the result of {command.id}", "the hub's answers do not agree yet")
        return command.id, sequence, is_final(now.result.state)

    async def _store(self, result: Result, fence: int) -> int | None:
        what = f"store the result of {result.id}"
        return await published_if(self._client, subjects.result(self._id, result.id), fitted(result), fence, what=what)

    async def _found(self, command_id: str) -> Found:
        stored = await get_last(self._client, STREAM, subjects.result(self._id, command_id))
        if stored is None:
            return Found()
        try:
            found = wire.decode(stored.data, Result)
            wire.check_depth({"value": found.value}, "its value", MAX_DEPTH)
        except (Failed, ValueError):
            return Found(stored.sequence)
        return Found(stored.sequence, found if found.id == command_id else None)
