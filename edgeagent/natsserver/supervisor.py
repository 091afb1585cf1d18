"""Keeps one process running: takes over or starts it, watches it, starts it again after a pause when it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from edgeagent import files
from edgeagent.backoff import Backoff
from edgeagent.errors import Closed, EdgeError, Unreachable, UsageProblem
from edgeagent.natsserver.failures import StartFailed
from edgeagent.natsserver.process import Child, Launch, adopt, start
from edgeagent.natsserver.states import Event, State, next_state

__all__ = ["Event", "State", "Supervisor", "Timing", "next_state"]

log = logging.getLogger(__name__)

#: Asked before every start, with why the last run ended (None the first time, and after a restart that was asked for).
Prepare = Callable[[EdgeError | None], Awaitable[Launch]]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """All in seconds. first, cap: bounds of the first and of the longest pause before a restart, each drawn at random below its bound.
    good: a run of this length brings the first pause back. grace: from SIGTERM to SIGKILL."""

    first_seconds: float = 0.5
    cap_seconds: float = 30.0
    good_seconds: float = 60.0
    grace_seconds: float = 10.0


class Supervisor:
    """Supervises the process that ``prepare`` describes. Once stopped or released it can't be started again.

    name: as in :class:`Launch`.
    prepare: makes the :class:`Launch`, and all that it needs; an EdgeError or OSError from it counts as a failed start.
    on_change: called with every new state and, where there is one, the reason. ``failed`` may come at any time: a life that ended for
    good is not begun again until :meth:`restart`, so the owner has to act.
    """

    def __init__(
        self,
        name: str,
        prepare: Prepare,
        *,
        timing: Timing | None = None,
        on_change: Callable[[State, str], None] | None = None,
    ) -> None:
        self._name, self._prepare, self._timing = name, prepare, timing or Timing()
        self._on_change = on_change or (lambda state, detail: None)
        first, cap = min(self._timing.first_seconds, self._timing.cap_seconds), self._timing.cap_seconds
        self._backoff = Backoff(first, cap, good_seconds=self._timing.good_seconds)
        self._task: asyncio.Task[None] | None = None
        self._asked, self._changed = asyncio.Event(), asyncio.Event()
        self._leave_running = False
        self._why: EdgeError | None = None
        self.state = State.STOPPED
        self.child: Child | None = None
        #: Why it ended last, or could not be started; None if neither happened.
        self.last_problem: EdgeError | None = None
        #: How often it was started again after the first time.
        self.restarts = 0

    def start(self) -> None:
        """Begin; see :meth:`ready` for the result. Raises Closed when it was stopped before."""
        if self._task is not None or self._asked.is_set():
            raise Closed(f"start {self._name}", "it was started or stopped before")
        self._move(Event.START)
        self._task = asyncio.create_task(self._run(), name=f"supervise {self._name}")

    async def ready(self, timeout: float) -> Child:
        """Wait until it is ready, ``timeout`` seconds at most, and return it.

        Raises what made it fail for good, Unreachable after the timeout (with the last problem), Closed when it is stopped.
        """
        try:
            return await asyncio.wait_for(self._settled(), timeout)
        except asyncio.TimeoutError:
            what, problem = f"use {self._name}", self.last_problem
            if problem is None:
                raise Unreachable(what, f"it is not ready after {timeout:g} s") from None
            raise Unreachable(what, f"it is not ready after {timeout:g} s; {problem}") from problem

    async def _settled(self) -> Child:
        while True:
            if self.state is State.RUNNING and self.child is not None:
                return self.child
            if self.state is State.FAILED and self.last_problem is not None:
                raise self.last_problem
            if self.state in (State.STOPPED, State.STOPPING):
                raise Closed(f"use {self._name}", f"it is {self.state.value}")
            if self._task is not None and self._task.done():
                self._task.result()
            await self._changed.wait()

    def restart(self) -> None:
        """End it and start it again without a pause; also the way out of ``failed``. Raises Closed when it is stopped."""
        if self.state in (State.STOPPED, State.STOPPING):
            raise Closed(f"restart {self._name}", f"it is {self.state.value}")
        self._move(Event.RESTART)
        self._asked.set()

    async def stop(self) -> None:
        """End the process and supervise no more. Safe to call twice."""
        await self._close(leave_running=False)

    async def release(self) -> None:
        """Supervise no more and let the process run; a later Supervisor takes it over."""
        await self._close(leave_running=True)

    async def _close(self, *, leave_running: bool) -> None:
        if self.state not in (State.STOPPED, State.STOPPING):
            self._leave_running = leave_running
            self._move(Event.STOP)
        self._asked.set()
        if self._task is not None:
            await asyncio.shield(self._task)

    def _move(self, event: Event, detail: str = "") -> None:
        self.state = next_state(self.state, event)
        log.info("%s: %s%s", self._name, self.state.value, f" ({detail})" if detail else "")
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        self._on_change(self.state, detail)

    async def _run(self) -> None:
        try:
            while self.state is not State.STOPPING:
                self._asked.clear()  # a restart asked for between two lives: this life is the answer
                await self._pause(await self._live())
        finally:
            # Cancelled without a stop, it lets go as release() does: the process must outlive us.
            if self.child is not None:
                self.child.release()
                self.child = None
            self._changed.set()
        self._move(Event.ENDED)

    async def _live(self) -> float:
        """One life of the process, from its start to its end; how long it was good, in seconds."""
        clock = asyncio.get_running_loop().time
        ready_at = None
        why, self._why = self._why, None
        try:
            await self._unless_asked(self._begin(why))
            if self.child is not None and not self._asked.is_set():
                ready_at = clock()
                self._move(Event.READY)
                await self._unless_asked(self.child.wait())
                if self.child.has_ended:
                    raise self.child.failure()
        except EdgeError as problem:
            self._keep(problem)
        except OSError as error:  # no descriptors, no processes: it may be better at the next try
            self._keep(files.failure(f"run {self._name}", error))
        await self._end()
        return 0.0 if ready_at is None else clock() - ready_at

    def _keep(self, problem: EdgeError) -> None:
        # Without its traceback: whose frames hold the problem before, and so on, one more for every failed try.
        problem.__traceback__ = problem.__context__ = None
        self._why = self.last_problem = problem

    async def _begin(self, why: EdgeError | None) -> None:
        launch = await self._prepare(why)
        self.child = adopt(launch)
        if self.child is not None and launch.replace:
            await self._end()
        if self.child is None:
            self.child = start(launch)
        await self.child.until_ready()

    async def _end(self) -> None:
        if self.child is None:
            return
        if not (self.state is State.STOPPING and self._leave_running):
            await self.child.terminate(self._timing.grace_seconds)
        self.child.release()
        self.child = None

    async def _pause(self, good_seconds: float) -> None:
        """What comes between two lives: nothing when a restart or stop was asked for, else a pause, or a person."""
        if self._asked.is_set():
            return
        if _is_hopeless(self._why):
            self._move(Event.HOPELESS, str(self._why))
            await self._asked.wait()
            return
        self._move(Event.ENDED, str(self._why))
        await self._unless_asked(asyncio.sleep(self._backoff.next(good_seconds)))
        self.restarts += 1
        if not self._asked.is_set():
            self._move(Event.RETRY)

    async def _unless_asked(self, work: Coroutine[Any, Any, object]) -> None:
        """Do ``work``, but drop it as soon as a stop or restart is asked for."""
        doing, asked = asyncio.ensure_future(work), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({doing, asked}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
        finally:
            doing.cancel()
            asked.cancel()
            await asyncio.gather(doing, asked, return_exceptions=True)


def _is_hopeless(problem: EdgeError | None) -> bool:
    return isinstance(problem, UsageProblem) or (isinstance(problem, StartFailed) and problem.hopeless)
