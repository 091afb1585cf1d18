"""One command while it runs: its output, its progress, its end by itself, by its time limit or because it was cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime, timezone
from typing import Any

import msgspec

from edgeagent import actions
from edgeagent.actions import Action, Context, Outcome
from edgeagent.command import MAX_OUTPUT_BYTES, Result, is_final
from edgeagent.errors import EdgeError
from edgeagent.journal import Journal
from edgeagent.journalrows import Command
from edgeagent.patterns.commandjudge import ended
from edgeagent.patterns.commandresults import Results
from edgeagent.runtime import CANCEL_AGAIN_SECONDS
from edgeagent.times import duration, rfc3339

__all__ = ["Output", "Run"]

log = logging.getLogger("edgeagent")

#: How often at most the hub is told of output, in seconds; what ends sooner is told once.
PROGRESS_SECONDS = 1.0
#: How long an action may take to end when it is told to, in seconds: it sends SIGTERM first, and SIGKILL after a while.
GRACE_SECONDS = 20.0
#: How long to wait before an outcome is written again that the disk did not take, in seconds.
DISK_SECONDS = 2.0


class Output:
    """The end of what an action wrote, at most :data:`~edgeagent.command.MAX_OUTPUT_BYTES`, and how much it was in all."""

    def __init__(self) -> None:
        self._end, self.size = bytearray(), 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._end += data[-MAX_OUTPUT_BYTES:]
        del self._end[:-MAX_OUTPUT_BYTES]

    @property
    def text(self) -> str:
        """As UTF-8, whatever it was. Where the beginning was cut off, half a character goes with it."""
        end = bytes(self._end)
        if self.size > len(end):
            end = end.lstrip(bytes(range(0x80, 0xC0)))
        return end.decode("utf-8", "replace")


class Run:
    """One command while it runs. cancelled: set when it is to end. boot: id of this boot of the machine. goes_on: it began before."""

    def __init__(
        self, action: Action, command: Command, results: Results, journal: Journal, boot: str, *, goes_on: bool = False
    ) -> None:
        self.action, self.output, self.cancelled = action, Output(), asyncio.Event()
        self._command, self._results, self._journal, self._boot = command, results, journal, boot
        started = command.result.started if goes_on else rfc3339(datetime.now(timezone.utc))
        self._result = msgspec.structs.replace(command.result, state="running", started=started)
        self._timed_out = False

    def note(self) -> None:
        """It begins: in the journal, and in the log with whose it is. Raises Failed when the journal can't be written."""
        self._journal.begin(self._result, self._boot)
        what = actions.described(self.action.name, self._command.args)
        log.info("runs for %s, command %s: %s", actions.printable(self._result.signer), self._result.id, what)

    def cancel(self) -> None:
        """End it: somebody cancelled it."""
        self.cancelled.set()

    async def outcome(self, context: Context, args: Any) -> Outcome:
        """Run it to its end. When this itself is cancelled, so is the action, and the journal goes on saying that it runs."""
        work = asyncio.ensure_future(self.action.begin(context, args))
        telling = asyncio.ensure_future(self._tell())
        try:
            await self._waited(work)
        finally:
            await _end(work, telling)
        return self._judged(work)

    async def _waited(self, work: asyncio.Future[Outcome]) -> None:
        stopping = asyncio.ensure_future(self.cancelled.wait())
        either: set[asyncio.Future[Any]] = {work, stopping}
        try:
            await asyncio.wait(either, timeout=self.action.timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if not work.done():
            self._timed_out = not self.cancelled.is_set()
            self.cancelled.set()
            await asyncio.wait({work}, timeout=GRACE_SECONDS)

    def _judged(self, work: asyncio.Future[Outcome]) -> Outcome:
        if work.cancelled():
            found = Outcome("cancelled", "it did not end when it was told to, and was given up")
        elif (error := work.exception()) is not None:
            found = self._broken(error)
        else:
            found = work.result()
        if not isinstance(found, Outcome) or not is_final(found.state):
            found = Outcome("failed", f"the action {self.action.name} did not say how it ended")
        if found.state in ("succeeded", "unknown") or not self.cancelled.is_set():
            return found  # it was too late to cancel it
        if self._timed_out:
            reason = f"it took longer than {duration(self.action.timeout_seconds)}"
            return Outcome("timed_out", reason, found.exit_code, found.value)
        by = (self._journal.command(self._result.id) or self._command).cancelled_by
        return Outcome("cancelled", f"{by or 'somebody'} cancelled it while it ran", found.exit_code, found.value)

    def _broken(self, error: BaseException) -> Outcome:
        if isinstance(error, EdgeError):
            return Outcome("failed", str(error))
        log.error("the action %s failed", self.action.name, exc_info=error)
        return Outcome("failed", f"{type(error).__name__}: {error}")

    async def end(self, outcome: Outcome) -> None:
        """Have the end in the journal, however long the disk takes."""
        final = ended(self._now(), outcome.state, outcome.reason, exit_code=outcome.exit_code, value=outcome.value)
        final = _storable(final)
        while True:
            try:
                self._journal.write(final)
                break
            except EdgeError as error:
                log.error("%s", error)
                await asyncio.sleep(DISK_SECONDS)
        log.info("command %s %s%s", final.id, final.state, f": {actions.printable(final.reason)}" if final.reason else "")

    def _now(self) -> Result:
        return msgspec.structs.replace(self._result, output=self.output.text, output_bytes=self.output.size)

    async def _tell(self) -> None:
        """Say how far it is, while it runs."""
        told: Result | None = None
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            if told is not None and told.output_bytes == self.output.size:
                continue
            told = self._now()
            with contextlib.suppress(EdgeError):
                await self._results.progress(self._command, told)


def _storable(final: Result) -> Result:
    """What a stranger's action answered may be no JSON, or no text."""
    try:
        msgspec.json.decode(msgspec.json.encode(final), type=Result)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        words = {name: str(getattr(final, name)).encode("utf-8", "replace").decode() for name in ("reason", "output")}
        reason = words["reason"] or f"what it answered cannot be sent ({type(error).__name__})"
        code = final.exit_code if isinstance(final.exit_code, int) else None
        return msgspec.structs.replace(final, value=None, exit_code=code, output=words["output"], reason=reason)
    return final


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """Have all of them ended; again and again, as in :meth:`edgeagent.runtime.Tasks.close`."""
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN_SECONDS)
