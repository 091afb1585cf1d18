"""Runs the registered collectors, a round at a time, in a thread: one that blocks holds up nobody but the others, and these not for long.

A thread can't be ended from outside. One that hangs is left behind with its collector, which is not asked again before it comes back,
and the rest of the round goes on in another.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec

from edgeagent.collectors import Collect, Collector, Round, collectors
from edgeagent.patterns.collectorhealth import Healths
from edgeagent.runtime import woken
from edgeagent.sample import Sample

__all__ = ["Collecting"]

#: How long a collector may take before the round goes on without it, in seconds.
HANGS_SECONDS = 10.0
#: What one may give in a round: more is a mistake that would fill the store.
MAX_SAMPLES = 1000


class _Outcome(NamedTuple):
    samples: list[Sample]
    seconds: float
    error: str = ""


class _Job:
    """One collector with what it remembers. due: by the monotonic clock."""

    def __init__(self, collector: Collector) -> None:
        self.collector, self.name = collector, collector.name
        self.metrics = {metric.name: metric for metric in collector.metrics}
        self._collect: Collect | None = None
        self.due = float("-inf")
        self.stuck = False

    def measure(self, round: Round) -> _Outcome:
        """In a thread. Raises nothing: it is a stranger's code, and whatever it raises costs its own samples and nothing else."""
        started = time.perf_counter()
        try:
            if self._collect is None:
                self._collect = self.collector.make()
            found = list(islice(self._collect(round), MAX_SAMPLES + 1))
            if len(found) > MAX_SAMPLES:
                raise ValueError(f"it gave more than {MAX_SAMPLES} samples")
            samples, error = [self._checked(sample) for sample in found], ""
        except Exception as problem:
            samples, error = [], f"{type(problem).__name__}: {problem}"
        return _Outcome(samples, time.perf_counter() - started, error)

    def _checked(self, sample: Sample) -> Sample:
        """As it was declared, so that the catalogue tells the truth."""
        metric = self.metrics.get(sample.metric)
        if metric is None:
            raise ValueError(f"the metric {sample.metric} is not declared")
        if (sample.unit, sample.kind) != (metric.unit, metric.kind):
            sample = msgspec.structs.replace(sample, unit=metric.unit, kind=metric.kind)
        return sample


class Collecting:
    """The collectors of one device. wanted: those that there are, None: the registered ones. hangs_seconds: see above."""

    def __init__(
        self, healths: Healths, wanted: Iterable[Collector] | None = None, *, hangs_seconds: float = HANGS_SECONDS
    ) -> None:
        self._healths, self._hangs_seconds = healths, hangs_seconds
        self._jobs = [_Job(each) for each in (collectors() if wanted is None else wanted)]

    async def run(self, given: Round) -> list[Sample]:
        """What all of them measure now, but for those that are disabled, not due, or hang."""
        found: list[Sample] = []
        disabled = given.settings.sampling.disabled
        due = [job for job in self._jobs if not job.stuck and job.name not in disabled and given.clock >= job.due]
        for job in due:
            job.due = given.clock + job.collector.seconds
        while due:
            lane = _Lane(due, given)
            done = await lane.outcomes(self._hangs_seconds)
            for job, outcome in zip(due, done, strict=False):
                found += outcome.samples
                found += self._healths.ran(job.name, seconds=outcome.seconds, samples=len(outcome.samples), error=outcome.error)
            hanging, due = due[len(done) : len(done) + 1], due[len(done) + 1 :]
            for job in hanging:
                found += self._healths.hangs(job.name, self._hangs_seconds)
        return found


class _Lane:
    """A thread that runs some of them, one after the other. It is a daemon: one that hangs must not hold up the end of the agent."""

    def __init__(self, jobs: Sequence[_Job], given: Round) -> None:
        self._jobs, self._given = jobs, given
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        self._outcomes: list[_Outcome] = []
        self._left = False
        threading.Thread(target=self._work, name="collectors", daemon=True).start()

    def _work(self) -> None:
        for job in self._jobs:
            outcome = job.measure(self._given)
            if not self._tell(partial(self._took, job, outcome)) or self._left:
                return

    def _tell(self, call: Callable[[], None]) -> bool:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call)
            return True
        return False

    def _took(self, job: _Job, outcome: _Outcome) -> None:
        job.stuck = False
        if not self._left:
            self._outcomes.append(outcome)
            self._event.set()

    async def outcomes(self, seconds: float) -> list[_Outcome]:
        """Of all of them, or of those in front of the first that takes longer than that."""
        while len(self._outcomes) < len(self._jobs):
            if not await woken(self._event, seconds) and not self._event.is_set():
                self._left = True
                self._jobs[len(self._outcomes)].stuck = True
                break
        return list(self._outcomes)
