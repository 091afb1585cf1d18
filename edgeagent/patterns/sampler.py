"""Measures: all collectors run every ``sampling.interval_seconds``, and what they found is written every ``sampling.flush_seconds``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

import msgspec

from edgeagent.collectors import Collector, OwnState, Round
from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.localsubjects import AGENT_SOURCE
from edgeagent.machine import Machine
from edgeagent.patterns.collecting import Collecting
from edgeagent.patterns.collectorhealth import Healths
from edgeagent.patterns.samplewriter import SampleWriter
from edgeagent.runtime import woken
from edgeagent.sample import Sample
from edgeagent.settings import Settings

__all__ = ["SOURCE", "Sampler"]

log = logging.getLogger("edgeagent")

#: Whose the samples of the registered collectors are.
SOURCE = AGENT_SOURCE

OnSamples = Callable[[str, list[Sample]], None]


class Sampler:
    """The measurements of one device. ``take`` also takes those of others, such as programs.

    on_samples: is shown all of them as they are taken, with their source. own: what the agent knows of itself. wanted: the collectors;
    None: the registered ones.
    """

    def __init__(
        self,
        client: Client,
        machine: Machine,
        settings: Settings,
        healths: Healths,
        *,
        on_samples: OnSamples = lambda source, samples: None,
        own: Callable[[], OwnState] = OwnState,
        wanted: Iterable[Collector] | None = None,
    ) -> None:
        self._machine, self._settings, self._on_samples, self._own = machine, settings, on_samples, own
        self._collecting = Collecting(healths, wanted)
        self.writer = SampleWriter(client)
        self._changed, self._flush_changed = asyncio.Event(), asyncio.Event()
        #: Why the store did not take what was to be written last, None when it did.
        self.problem: EdgeError | None = None
        #: Called when something was written.
        self.on_stored: Callable[[], None] = lambda: None

    def set_settings(self, wanted: Settings) -> None:
        """Go on with these."""
        before, self._settings = self._settings.sampling, wanted
        if before != wanted.sampling:
            self._changed.set()
            self._flush_changed.set()

    def take(self, source: str, samples: list[Sample]) -> None:
        """These were measured just now, unless they have a time."""
        if samples:
            now = round(time.time(), 3)
            stamped = [sample if sample.time else msgspec.structs.replace(sample, time=now) for sample in samples]
            self._on_samples(source, stamped)
            self.writer.add(source, stamped)

    async def rounds(self) -> None:
        """Measure for ever."""
        due = time.monotonic()
        while True:
            await self.measure()
            due = max(due + self._settings.sampling.interval_seconds, time.monotonic())  # a round that took too long is left out
            if await woken(self._changed, due - time.monotonic()):
                due = time.monotonic()

    async def measure(self) -> None:
        """One round. All of it has the time at which it began."""
        now = round(time.time(), 3)
        given = Round(machine=self._machine, settings=self._settings, clock=time.monotonic(), own=self._own())
        found = await self._collecting.run(given)
        self.take(SOURCE, [sample if sample.time else msgspec.structs.replace(sample, time=now) for sample in found])

    async def flushes(self) -> None:
        """Write for ever; at the end a last time, so that a stop loses nothing."""
        try:
            while True:
                await woken(self._flush_changed, self._settings.sampling.flush_seconds)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write what waits; what can't be written is tried again next time, and said once."""
        before = self.writer.waiting
        problem = await self.writer.flush()
        if problem is None and before:
            self.on_stored()
        if problem is not None and self.problem is None:
            log.warning("%s", problem)
        self.problem = problem
