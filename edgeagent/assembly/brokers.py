"""The brokers that the device's owner already has, put together: one bridge each, and what the status file says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

from edgeagent import actions
from edgeagent.assembly.devicecommands import DeviceCommands
from edgeagent.assembly.deviceleaf import LeafConnections
from edgeagent.assembly.devicemcus import DeviceMcus
from edgeagent.assembly.devicesampling import DeviceSampling
from edgeagent.assembly.devicestatus import StatusKeeper
from edgeagent.errors import EdgeError
from edgeagent.identity import Identity
from edgeagent.machine import Machine
from edgeagent.patterns.events import Events
from edgeagent.patterns.gpio import Pins
from edgeagent.runtime import Tasks
from edgeagent.sample import Sample
from edgeagent.settings import Settings
from edgeagent.status import BrokerStatus, Problem
from edgeagent.times import rfc3339

if TYPE_CHECKING:
    from edgeagent.bridge.brokers import Broker
    from edgeagent.bridge.discoverymcus import Microcontroller
    from edgeagent.bridge.farewell import Farewell

__all__ = ["Brokers", "Parts"]

#: How often what is counted of them goes to the status file, in seconds.
STATUS_SECONDS = 5.0


class Parts(Protocol):
    """The parts of an agent that this stands on."""

    settings: Settings
    links: LeafConnections
    machine: Machine
    identity: Identity
    events: Events
    status: StatusKeeper
    commands: DeviceCommands
    mcus: DeviceMcus


class Brokers:
    """All of one device. A broker's name is told as ``mqtt.<name>`` where it is a source of samples."""

    def __init__(self, parts: Parts, sampling: DeviceSampling) -> None:
        self._parts, settings = parts, parts.settings
        self._pins = Pins(settings, parts.machine)
        self._outputs = [name for name, pin in settings.gpio.pins.items() if pin.direction == "output"]
        self._told: tuple[dict[str, BrokerStatus], list[Problem]] = ({}, [])
        self._left = self._left_behind()
        self._brokers = self._made() if settings.mqtt.brokers else []
        self._takers = [each for each in self._brokers if each.wants_samples]
        if self._takers:
            sampling.on_samples = self._measured

    def _made(self) -> list[Broker]:
        from edgeagent.bridge.brokers import Broker, Device  # only who has a broker pays for it

        parts, settings = self._parts, self._parts.settings
        device = Device(
            id=parts.identity.id,
            client=parts.links.agent,
            events=parts.events,
            ask=parts.commands.ask,
            allows=lambda name: actions.is_allowed(settings, name),
            outputs=self._read_outputs,
            mcus=self._look_at_mcus,
            state=settings.state_folder,
        )
        return [Broker(name, each, device, settings.beside, self._changed) for name, each in settings.mqtt.brokers.items()]

    def _left_behind(self) -> list[Farewell]:
        """Of brokers that agent.toml had before."""
        parts, settings = self._parts, self._parts.settings
        if not any(settings.state_folder.glob("broker-*.json")):
            return []
        from edgeagent.bridge.farewell import Farewell, left_behind

        current = {name: f"{each.host}:{each.port}" for name, each in settings.mqtt.brokers.items()}
        left = left_behind(settings.state_folder, current)
        return [Farewell(name, path, parts.events, self._changed) for name, path in left.items()]

    def start(self, tasks: Tasks) -> None:
        """Until :meth:`close`."""
        for broker in self._brokers:
            broker.start()
        for left in self._left:
            left.start()
        if self._brokers or self._left:
            tasks.start("brokers' status", self._count())

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in self._brokers), *(each.close() for each in self._left))

    def status(self) -> dict[str, BrokerStatus]:
        """For the status file."""
        return {broker.name: _status(broker) for broker in self._brokers}

    def _measured(self, source: str, samples: list[Sample]) -> None:
        for broker in self._takers:
            broker.offer(samples)

    def _look_at_mcus(self) -> list[Microcontroller]:
        from edgeagent.bridge.discoverymcus import Microcontroller

        mcus = self._parts.mcus.mcus
        hellos = mcus.hellos()
        return [Microcontroller(id=each.id, is_online=each.state == "online", hello=hellos[each.id]) for each in mcus.status()]

    def _read_outputs(self) -> Mapping[str, int | None]:
        """None: nothing has switched it yet, or the pins can't be reached."""
        found: dict[str, int | None] = {}
        for name in self._outputs:
            try:
                found[name] = self._pins.read(name)
            except EdgeError:
                found[name] = None
        return found

    def _changed(self) -> None:
        self._told = self.status(), self._problems()
        self._parts.status.brokers_changed(self.status, self._told[1])

    def _problems(self) -> list[Problem]:
        found = [_problem(f"the broker {each.name}: ", each.problem) for each in self._brokers if each.problem]
        return [*found, *(_problem("", each.problem) for each in self._left if each.problem)]

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            if self._told != (self.status(), self._problems()):
                self._changed()


def _problem(whose: str, error: EdgeError) -> Problem:
    return Problem(f"{whose}cannot {error.what}: {error.why}", error.remedy)


def _status(broker: Broker) -> BrokerStatus:
    found = broker.client.status()
    return BrokerStatus(
        where=broker.client.options.where,
        connected=found.connected,
        since=rfc3339(datetime.fromtimestamp(found.since, timezone.utc)),
        taken=broker.intake.count,
        sent=found.sent,
        waiting=found.waiting,
        dropped=found.dropped + found.oversized + broker.intake.dropped + broker.outlet.left_out,
        malformed=broker.intake.malformed,
        unreadable=broker.intake.unreadable,
        asked=broker.asked,
    )
