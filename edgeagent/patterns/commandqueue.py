"""When each accepted command runs: one after the other in the order of the journal, those that wait for nobody beside them.

What waits for its part of a splay holds nobody up: of those that are due the first one runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable

import msgspec

from edgeagent import actions
from edgeagent.actions import Context, Outcome
from edgeagent.command import Result, is_final
from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.journal import Journal
from edgeagent.journalrows import Command
from edgeagent.patterns.commandjudge import ended, expired_reason
from edgeagent.patterns.commandresults import Results
from edgeagent.patterns.commandrun import Run
from edgeagent.patterns.knowntime import KnownTime
from edgeagent.patterns.turn import Turn
from edgeagent.patterns.unitactions import UnitActions
from edgeagent.runtime import Tasks, woken
from edgeagent.settings import Settings

__all__ = ["CommandQueue", "MakeContext", "part_of"]

log = logging.getLogger("edgeagent")

#: How many run at once of those that wait for nobody.
BESIDE = 8
#: An action that ended the agent so many times is not begun again.
MAX_BEGUN = 5
#: How long to wait before the journal is tried again that could not be written, in seconds.
DISK_SECONDS = 5.0

#: ``(command id, where output goes, the event that ends it) -> what the action is given``
MakeContext = Callable[[str, Callable[[bytes], None], asyncio.Event], Context]


def part_of(device_id: str, command_id: str, splay_seconds: float) -> float:
    """How long this device waits, in seconds: always the same part of the splay for the same command."""
    drawn = int.from_bytes(hashlib.sha256(f"{device_id} {command_id}".encode()).digest()[:8], "big")
    return splay_seconds * drawn / 2**64


class CommandQueue:
    """Runs what the journal holds. settings: of agent.toml. boot: id of this boot of the machine. turn: shared with whoever else has actions
    run; None: nobody has. units: that go on while the agent is away; None: there are none."""

    def __init__(
        self,
        device_id: str,
        journal: Journal,
        results: Results,
        time: KnownTime,
        *,
        settings: Settings,
        boot: str,
        context: MakeContext,
        turn: Turn | None = None,
        units: UnitActions | None = None,
    ) -> None:
        self._id, self._journal, self._results, self._time = device_id, journal, results, time
        self._settings, self._boot, self._context = settings, boot, context
        self._wake = asyncio.Event()
        self._due: dict[str, float] = {}
        self._runs: dict[str, Run] = {}
        self._busy = False
        self._turn = turn or Turn()
        self._turn.on_left = self.wake
        self._units = units
        self._tasks = Tasks()

    def wake(self) -> None:
        """Something may run now."""
        self._wake.set()

    def stop(self, command_ids: list[str]) -> None:
        """These were cancelled while they run."""
        for command_id in command_ids:
            if command_id in self._runs:
                self._runs[command_id].cancel()
        self._wake.set()

    async def run(self) -> None:
        """Run them for ever, after what became of those that ran before; those that run when it is cancelled are ended."""
        recovered = False
        try:
            while True:
                try:
                    recovered = recovered or self.recover()
                    pause = self._start_what_can()
                except EdgeError as error:
                    log.error("%s", error)
                    pause = DISK_SECONDS
                self._turn.pass_on()
                await woken(self._wake, pause)
        finally:
            await self._tasks.close()

    # ---- after a start ----

    def recover(self) -> bool:
        """Judge what ran when the agent before this one ended, and have the hub asked again about what had not begun. Raises Failed
        when the journal can't be written; True otherwise."""
        for command in self._journal.running():
            if not self._resumed(command):
                self._journal.write(self._recovered(command))
        self._journal.unclaim()
        self._results.wake()
        self._tasks.start("tidy units", self._tidy())
        return True

    def _resumed(self, command: Command) -> bool:
        """Whether it went on while there was no agent, or ended then: it is followed to its end. One that shares the work with the agent
        is not; it begins again, and finds its part that was done."""
        action = actions.find(command.result.action)
        if command.id in self._runs:  # the journal could not be written before
            return True
        if self._units is None or action is None or not action.is_unit or not self._units.is_there(command.id):
            return False
        log.info("goes on: command %s (%s)", command.id, command.result.action)
        run = Run(action, command, self._results, self._journal, self._boot, goes_on=True)
        if command.cancelled_by:
            run.cancel()
        self._follow(run, command._replace(concurrent=command.concurrent or self._turn.taken))
        return True

    async def _tidy(self) -> None:
        """Have nothing lie about that units left whose end is in the journal, or that nobody asked for."""
        if self._units is not None:
            await self._units.tidy(self._is_open)

    def _is_open(self, command_id: str) -> bool:
        """Whether the command has not ended, or that can't be seen."""
        try:
            command = self._journal.command(command_id)
        except EdgeError:
            return True
        return command_id in self._runs or (command is not None and not is_final(command.result.state))

    def _recovered(self, command: Command) -> Result:
        action = actions.find(command.result.action)
        found = self._recall(command)
        if found is not None:
            return ended(command.result, found.state, found.reason, exit_code=found.exit_code, value=found.value)
        if command.cancelled_by:
            return ended(command.result, "cancelled", f"{command.cancelled_by} cancelled it, and the agent ended while it ran")
        if action is not None and action.idempotent and command.begun < MAX_BEGUN:
            return msgspec.structs.replace(command.result, state="accepted", started="")
        return ended(command.result, "unknown", "the agent or the machine ended while it ran")

    def _recall(self, command: Command) -> Outcome | None:
        """What the action itself says became of it."""
        action = actions.find(command.result.action)
        if action is None:
            return None
        try:
            typed = actions.arguments(action, command.args)
            return action.recover(self._context(command.id, lambda data: None, asyncio.Event()), typed, command.boot)
        except Exception:  # a stranger's code, of another version perhaps
            log.exception("what became of %s (%s)", command.id, command.result.action)
            return None

    # ---- turn by turn ----

    def _start_what_can(self) -> float | None:
        """Begin what may begin; how long to wait for more, in seconds, None: until woken. Raises Failed of the journal."""
        now = self._time.now()
        return min([*self._those(now, concurrent=True), *self._those(now, concurrent=False)], default=None)

    def _those(self, now: float | None, *, concurrent: bool) -> list[float]:
        """Begin those that may begin; how long others wait for their part of a splay, in seconds."""
        waits = []
        waiting = self._journal.waiting(concurrent=concurrent)
        while not self._is_full(concurrent=concurrent) and (command := next(waiting, None)):
            if command.fence is None:
                break  # the hub has not heard of it
            if now is None:
                self._time.wanted()
                break
            if wait := self._consider(command, now):
                waits.append(wait)
        return waits

    def _is_full(self, *, concurrent: bool) -> bool:
        return len(self._runs) - self._busy >= BESIDE if concurrent else self._turn.taken

    def _consider(self, command: Command, now: float) -> float:
        """End it or begin it, if its turn has come; how long it waits for that, in seconds."""
        end = self._end_before(command, now)
        if end is not None:
            self._journal.write(end)
            self._due.pop(command.id, None)
            log.warning("%s by %s, command %s: %s", end.state, end.signer, end.id, end.reason)
            self._results.wake()
            return 0.0
        left = self._splay_left(command, now)
        if left <= 0:
            self._begin(command)
        return left

    def _end_before(self, command: Command, now: float) -> Result | None:
        """The end of a command that is not to be begun any more."""
        if now > command.not_after:
            return ended(command.result, "expired", expired_reason(command.not_after))
        reason = actions.refusal(self._settings, command.result.action, command.args)
        if reason:
            return ended(command.result, "refused", reason, code="refused")
        action = actions.find(command.result.action)
        newer = self._journal.newer(command, now) if action is not None and action.supersedes else ""
        if newer:
            return ended(command.result, "cancelled", "a newer command does the same", superseded_by=newer)
        return None

    def _splay_left(self, command: Command, now: float) -> float:
        """How long it waits for its part of the splay, in seconds. A clock that is set meanwhile makes no difference.

        One that was taken while the time was not known waits from when it is.
        """
        if not command.splay_seconds:
            return 0.0
        part, running = part_of(self._id, command.id, command.splay_seconds), asyncio.get_running_loop().time()
        due = self._due.setdefault(command.id, running + min(part, (command.taken or now) + part - now))
        return max(0.0, due - running)

    def _begin(self, command: Command) -> None:
        action = actions.find(command.result.action)
        assert action is not None  # or it would have been refused
        run = Run(action, command, self._results, self._journal, self._boot)
        run.note()
        self._due.pop(command.id, None)
        self._follow(run, command)

    def _follow(self, run: Run, command: Command) -> None:
        self._runs[command.id] = run
        if not command.concurrent:
            self._turn.take()
            self._busy = True
        self._tasks.start(f"command {command.id}", self._carry_out(run, command))

    async def _carry_out(self, run: Run, command: Command) -> None:
        try:
            await run.end(await self._outcome(run, command))
        finally:
            del self._runs[command.id]
            if not command.concurrent:
                self._busy = False
                self._turn.leave()
            self._results.wake()
            self._wake.set()
        if run.action.unit is not None:
            await self._tidy()

    async def _outcome(self, run: Run, command: Command) -> Outcome:
        try:
            typed = actions.arguments(run.action, command.args)
            return await run.outcome(self._context(command.id, run.output.write, run.cancelled), typed)
        except UsageProblem as problem:
            return Outcome("refused", problem.why)
        except Exception as error:
            log.exception("command %s (%s)", command.id, command.result.action)
            return Outcome("failed", f"{type(error).__name__}: {error}")
