"""Filters are evaluated here, one after the other, in a worker process that is replaced when it dies or has to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeagent.cel import expressions
from edgeagent.cel.expressions import WHAT
from edgeagent.cel.names import read_names
from edgeagent.cel.process import Died, WorkerProcess
from edgeagent.cel.syntax import syntax_problem
from edgeagent.errors import Closed, Refused, UsageProblem

__all__ = ["Busy", "Evaluator", "Limits", "Verdict"]


class Busy(Refused):
    """It could not be evaluated now, which says nothing of the filter: the machine has too much to do, or not enough memory."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """cpu_seconds: processor time for compiling, and for one evaluation. wall_seconds: for one request, however busy the machine.
    start_seconds: for the worker's start. memory_bytes: all that the worker may have (it needs 7 MB itself). waiting: calls that
    may be under way or wait; one more is refused. idle_seconds: a worker that was not asked for so long is ended.
    slice_size: facts in one request of a batch; others get their turn between two slices."""

    cpu_seconds: float = 0.1
    wall_seconds: float = 2.0
    start_seconds: float = 15.0
    memory_bytes: int = 64 << 20
    waiting: int = 16
    idle_seconds: float = 30.0
    slice_size: int = 200


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """matched: whether the filter holds. missing: it does not, because something that it needs is not there.
    problem: why it could not be evaluated on these facts, empty if it could; only in batches."""

    matched: bool
    missing: bool = False
    problem: str = ""


class Evaluator:
    """Evaluates CEL filters. The worker starts with the first call and ends when idle; :meth:`close` when done."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._turn = asyncio.Lock()
        self._worker: WorkerProcess | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._closed = False

    async def evaluate(self, expression: str, facts: Mapping[str, Any]) -> Verdict:
        """Whether ``expression`` holds for ``facts`` (nested maps; None is the same as absent).

        Raises UsageProblem for bad CEL, a type error, division by zero or a result that is no bool; Refused if it takes too much
        time or memory or there is no engine, Busy if that says nothing of the filter; Closed.
        """
        [verdict] = await self.evaluate_many(expression, [facts])
        if verdict.problem:
            raise UsageProblem(WHAT, verdict.problem)
        return verdict

    async def evaluate_many(self, expression: str, many: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """One verdict for each of ``many``. A problem with one is in its verdict; otherwise raises as :meth:`evaluate`."""
        expressions.check_bounds(expression)
        names = read_names(expression)
        size = self._limits.slice_size
        verdicts: list[Verdict] = []
        with self._place():
            for start in range(0, len(many), size):
                prepared = [expressions.prepare(facts, names) for facts in many[start : start + size]]
                verdicts += [_verdict(answer) for answer in await self._ask(expression, prepared)]
        return verdicts

    async def check(self, expression: str, known_fields: Collection[str], *, open_prefixes: Collection[str] = ()) -> None:
        """Raise UsageProblem for bad CEL, and for a field or function that does not exist; arguments as ``expressions.check``."""
        expressions.check_bounds(expression)
        with self._place():
            await self._ask(expression, [])
        expressions.check(expression, known_fields, open_prefixes=open_prefixes)

    async def close(self) -> None:
        """End the worker and return when it is gone. Calls under way, waiting or still to come raise Closed."""
        self._closed = True
        self._end_worker()
        if self._idle is not None:
            self._idle.cancel()
        async with self._turn:
            if self._worker is not None:
                await self._worker.ended()

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._waiting >= self._limits.waiting:
            raise Busy(WHAT, f"busy: {self._waiting} filters are waiting already", "ask again later")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _ask(self, expression: str, prepared: list[dict[str, Any]]) -> list[Any]:
        async with self._turn:
            answer = await self._answer({"expression": expression, "facts": prepared})
        if "syntax" in answer:
            raise syntax_problem(expression, answer["syntax"])
        return list(answer["verdicts"])

    async def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The worker's answer; a worker that died for no reason of ours is replaced, once."""
        try:
            return await self._try(request)
        except Died:
            pass
        try:
            return await self._try(request)
        except Died as death:
            raise Busy(WHAT, f"its process died twice ({death})") from None

    async def _try(self, request: Mapping[str, Any]) -> dict[str, Any]:
        worker = await self._ready()
        try:
            answer = await asyncio.wait_for(worker.ask(request), self._limits.wall_seconds)
        except asyncio.TimeoutError:
            raise Busy(WHAT, f"it took more than {self._limits.wall_seconds:g} s") from None
        except Died as death:
            self._explain(death)
            raise
        else:
            self._idle = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._end_worker)
            return answer
        finally:
            if self._idle is None:  # no whole answer was read, so what comes next would be out of step
                worker.kill()

    async def _ready(self) -> WorkerProcess:
        """A worker that serves. Raises Refused, Closed or Died."""
        self._open()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._worker is not None and self._worker.usable:
            return self._worker
        if self._worker is not None:
            await self._worker.ended()
        self._worker = None
        return await self._start()

    async def _start(self) -> WorkerProcess:
        limits = self._limits
        worker = self._worker = await WorkerProcess.start(cpu_seconds=limits.cpu_seconds, memory_bytes=limits.memory_bytes)
        try:
            self._open()
            await asyncio.wait_for(worker.ready(), limits.start_seconds)
        except asyncio.TimeoutError:
            worker.kill()
            raise Busy(WHAT, f"its process did not start within {limits.start_seconds:g} s") from None
        except Died:
            self._open()
            raise
        except BaseException:
            worker.kill()
            raise
        return worker

    def _open(self) -> None:
        if self._closed:
            raise Closed(WHAT, "the evaluator was closed")

    def _explain(self, death: Died) -> None:
        """Raise the reason if we know it: closed by us, or the kernel's limits."""
        self._open()
        if death.signal is signal.SIGPROF:
            raise Refused(WHAT, f"it took more than {self._limits.cpu_seconds * 1000:g} ms", "make it simpler")
        if death.signal is signal.SIGABRT:
            raise Refused(WHAT, f"it took more than {self._limits.memory_bytes >> 20} MiB of memory", "make it simpler")

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()


def _verdict(answer: bool | str | None) -> Verdict:
    if isinstance(answer, str):
        return Verdict(matched=False, problem=answer)
    return Verdict(matched=answer is True, missing=answer is None)
