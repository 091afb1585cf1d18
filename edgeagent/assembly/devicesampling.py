"""What a device measures, put together: the collectors, the programs that measure, and the alerts that look at all samples."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import nats.errors

from edgeagent.assembly.deviceleaf import LeafConnections
from edgeagent.assembly.devicestatus import StatusKeeper
from edgeagent.builtin.collectors import load_plugins
from edgeagent.collectors import OwnState, collectors
from edgeagent.errors import UsageProblem
from edgeagent.leaf.leaf import Leaf
from edgeagent.localsubjects import local_metric
from edgeagent.machine import Machine
from edgeagent.patterns import gpiowatch
from edgeagent.patterns.alerts import Alerts
from edgeagent.patterns.collectorhealth import FILE, Healths, Told
from edgeagent.patterns.events import Events
from edgeagent.patterns.gpio import Pins
from edgeagent.patterns.programcollectors import load_folder
from edgeagent.patterns.sampler import SOURCE, Sampler
from edgeagent.ratelimit import RateLimit
from edgeagent.runtime import Tasks
from edgeagent.sample import Sample, parse, source_of
from edgeagent.settings import Settings
from edgeagent.status import Problem, SamplingStatus

__all__ = ["DeviceSampling", "Parts"]

#: Reports for an alert's sake: so many at once, and a second in the long run. Beyond that the next heartbeat brings one.
REPORTS, REPORTS_A_SECOND = 20, 1 / 60


class Parts(Protocol):
    """The parts of an agent that this stands on."""

    links: LeafConnections
    machine: Machine
    events: Events
    leaf: Leaf
    status: StatusKeeper


class DeviceSampling:
    """The measurements of one device. wanted: the settings with the configuration that counts now.

    forwarding: says what became of the messages in the leaf's store; whoever forwards them sets it.
    on_samples: is shown all samples of this device as they are taken, with their source; None: nobody wants them. on_alerts: called when the names of the raised alerts are others, unless that happens all the time; whoever reports them sets it.
    """

    def __init__(self, parts: Parts, wanted: Settings) -> None:
        self._parts, self._wanted = parts, wanted
        self.forwarding: Callable[[], OwnState] = OwnState
        self.on_alerts: Callable[[], None] = lambda: None
        self.on_samples: Callable[[str, list[Sample]], None] | None = None
        self._reports, self._severities = RateLimit(REPORTS_A_SECOND, REPORTS), dict[str, str]()
        tell, changed = parts.events.tell, self._changed
        plugins = load_plugins()
        self._healths = Healths(tell, changed, Told(wanted.state_folder / FILE))
        self._programs, failures = load_folder(parts.machine, wanted.collectors_folder)
        self._own_sources = frozenset({SOURCE, gpiowatch.SOURCE, *(program.name for program in self._programs)})
        self.alerts = Alerts(wanted.state_folder, wanted.alert, tell, self._alerts_changed, self._own_sources)
        parts.events.on_empty = self.alerts.tell_again
        unusable = {**plugins, **failures}
        self._healths.only({*(each.name for each in collectors()), *(each.name for each in self._programs), *unusable})
        for name, why in unusable.items():
            self._healths.unusable(name, why)
        client = parts.links.agent
        self.sampler = Sampler(client, parts.machine, wanted, self._healths, on_samples=self._taken, own=self._own)
        self._pins = gpiowatch.GpioWatch(
            Pins(wanted, parts.machine),
            wanted.gpio.pins,
            interval_seconds=wanted.sampling.interval_seconds,
            take=self.sampler.take,
            tell=tell,
            on_problems=lambda found: parts.status.pins_changed(
                [Problem(f"cannot {each.what}: {each.why}", each.remedy) for each in found]
            ),
        )
        self._subscription: Any = None
        self._tasks: Tasks | None = None
        self._apply()

    def start(self, tasks: Tasks) -> None:
        """Measure from now on, until ``tasks`` are closed."""
        self._tasks = tasks
        tasks.start("collectors", self.sampler.rounds())
        tasks.start("samples", self.sampler.flushes())
        self._pins.start(tasks)
        tasks.start("alerts", self.alerts.keep())
        tasks.start("alerts' samples", self._listen())
        for program in self._programs:
            tasks.start(f"collector {program.name}", program.keep(self.sampler.take, self._healths))
        self._changed()

    def set_settings(self, wanted: Settings) -> None:
        """Go on with these."""
        before, self._wanted = self._wanted, wanted
        self.sampler.set_settings(wanted)
        self._pins.set_interval(wanted.sampling.interval_seconds)
        self._apply()
        if before.alert != wanted.alert:
            self.alerts.set_rules(wanted.alert)
            if self._tasks:
                self._tasks.start("alerts' samples", self._listen())
        self._changed()

    def status(self) -> SamplingStatus:
        """For the status file."""
        writer = self.sampler.writer
        waiting = writer.waiting if self.sampler.problem else 0
        disabled = self._wanted.sampling.disabled
        found = [msgspec.structs.replace(each, error="") if each.name in disabled else each for each in self._healths.all()]
        return SamplingStatus(
            collectors=found,
            waiting=waiting,
            dropped=writer.dropped,
            alerts=list(self.alerts.severities),
            raised=self.alerts.standing,
        )

    def _taken(self, source: str, samples: list[Sample]) -> None:
        self.alerts.take(source, samples)
        if self.on_samples is not None:
            self.on_samples(source, samples)

    def _changed(self) -> None:
        self._parts.status.sampling_changed(self.status)

    def _alerts_changed(self) -> None:
        self._changed()
        severities = self.alerts.severities
        if severities != self._severities and self._reports.allow():
            self.on_alerts()
        self._severities = severities

    def _apply(self) -> None:
        sampling = self._wanted.sampling
        for program in self._programs:
            program.set(interval_seconds=sampling.interval_seconds, enabled=program.name not in sampling.disabled)

    def _own(self) -> OwnState:
        leaf = self._parts.leaf
        return dataclasses.replace(self.forwarding(), leaf_pid=leaf.pid or 0, leaf_restarts=leaf.restarts)

    async def _listen(self) -> None:
        """Hear the samples of the programs on this device, as long as there is an alert to watch."""
        with contextlib.suppress(nats.errors.Error):  # the connection is gone for good; the next one begins with what counts then
            await self._subscribe()

    async def _subscribe(self) -> None:
        wanted = not self.alerts.is_idle or self.on_samples is not None
        if wanted and self._subscription is None:
            self._subscription = await self._parts.links.agent.subscribe(local_metric(), cb=self._hear)
        elif not wanted and self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await subscription.unsubscribe()

    async def _hear(self, message: Any) -> None:
        try:
            source = source_of(message.subject)
            # The alerts saw the agent's own when they were taken.
            samples: list[Sample] = [] if source in self._own_sources else parse(message.subject, message.data)
        except UsageProblem:
            return  # the forwarder counts it
        self._taken(source, samples)
