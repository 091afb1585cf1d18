"""The microcontrollers of a device, put together: the live register, the wires to them, and what the status file and the report say."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from edgeagent import mcus as added
from edgeagent.assembly.devicecommands import DeviceCommands
from edgeagent.assembly.deviceleaf import LeafConnections
from edgeagent.assembly.devicestatus import StatusKeeper
from edgeagent.assembly.leafrelay import LeafRelay
from edgeagent.assembly.mcuactions import CommandedMcus
from edgeagent.assembly.mcudoor import McuDoor
from edgeagent.config import MCU, Value
from edgeagent.errors import EdgeError
from edgeagent.leaf.leaf import Leaf
from edgeagent.machine import Machine
from edgeagent.patterns.appconfig import tables_of
from edgeagent.patterns.config import Configuration
from edgeagent.patterns.events import Events
from edgeagent.patterns.mcus import Mcus
from edgeagent.ratelimit import RateLimit
from edgeagent.runtime import Tasks, woken
from edgeagent.serialsettings import SerialMcu, together
from edgeagent.settings import Settings
from edgeagent.status import McuStatus

if TYPE_CHECKING:
    from edgeagent.bridge.serialmcus import SerialMcus

__all__ = ["DeviceMcus", "Parts"]

log = logging.getLogger("edgeagent")

#: How often the status file is made to say what they did meanwhile, in seconds; what changed of one itself is there at once, but for the pause
#: after the last time: one that becomes another all the time must not keep the agent busy.
REFRESH_SECONDS, QUIET_SECONDS = 5.0, 0.2
#: Reports because one came or went: so many at once, and a second in the long run. Beyond that the next heartbeat brings one.
REPORTS, REPORTS_A_SECOND = 20, 1 / 60


class Parts(Protocol):
    """The parts of an agent that this stands on."""

    links: LeafConnections
    leaf: Leaf
    configuration: Configuration
    machine: Machine
    events: Events
    commands: DeviceCommands
    status: StatusKeeper


class DeviceMcus:
    """The microcontrollers of one device. wanted: its settings. mcus: what each of them says, and is told.

    on_facts: called when :meth:`facts` are others, unless that happens all the time.
    """

    def __init__(self, parts: Parts, wanted: Settings, *, on_facts: Callable[[], None]) -> None:
        self._parts, self._own, self._on_facts = parts, wanted.serial.mcus, on_facts
        self._wired, self._others = dict(self._own), frozenset[str]()
        self.mcus = Mcus(parts.links.agent, tell=parts.events.tell, on_change=self._changed, unix_ms=self._unix_ms)
        self._bridge: SerialMcus | None = None
        self._wake = asyncio.Event()
        self._reports = RateLimit(REPORTS_A_SECOND, REPORTS)
        self._shown: list[McuStatus] = []
        self._facts: list[dict[str, str]] = []
        self._relay = LeafRelay(parts.leaf, parts.links, self.mcus, self._changed)
        self.set_configuration(parts.configuration.values)
        parts.status.watch_mcus(self.status, self._relay.problems)
        parts.commands.mcus = CommandedMcus(self.mcus, wanted, self._changed_by_command)
        parts.commands.ask_mqtt = self._relay.ask

    def start(self, tasks: Tasks) -> None:
        """Keep them from now on, until ``tasks`` are closed."""
        self.mcus.start(tasks)
        self._relay.start(tasks)
        self._read_added()
        tasks.start("door to microcontrollers", McuDoor(self._parts.links.agent, self.mcus).open(tasks))
        tasks.start("wired microcontrollers", self._keep(tasks))

    async def close(self) -> None:
        """Leave the leaf's MQTT. Safe to call twice."""
        await self._relay.close()

    async def _changed_by_command(self) -> None:
        await self._parts.leaf.apply()
        await self.logins_changed()

    async def logins_changed(self) -> None:
        """`edgeagent mcu add` or `app add` changed what belongs to this device."""
        self._read_added()
        await self._relay.refresh()

    def set_configuration(self, values: Mapping[str, Value]) -> None:
        """What the configuration has, for microcontrollers and for the programs that are told by MQTT."""
        tables = tables_of(values, MCU)
        self.mcus.set_configuration(tables)
        self._relay.set_configuration(tables_of(values), tables)

    def _read_added(self) -> None:
        try:
            known = added.load(self._parts.leaf.options.mcus_file)
            wired = {mcu_id: msgspec.convert(mcu.wired, SerialMcu) for mcu_id, mcu in known.items() if mcu.wired}
        except (EdgeError, msgspec.ValidationError) as error:
            log.error("the microcontrollers that were added are left out: %s", error)
            known, wired = {}, {}
        self.set_added(wired, [mcu_id for mcu_id, mcu in known.items() if mcu.password])

    def set_added(self, wired: Mapping[str, SerialMcu], others: Iterable[str] = ()) -> None:
        """Besides those of agent.toml, which go before: these on a wire, and the ids of those that come by another way."""
        self._wired, self._others = together(self._own, wired), frozenset(others)
        if self._bridge:
            self._bridge.want(self._wired)
        self._know()
        self._wake.set()

    def status(self) -> list[McuStatus]:
        """How each is, and what is plugged in and nobody's."""
        return [*self.mcus.status(), *(self._bridge.found() if self._bridge else [])]

    def facts(self) -> list[dict[str, str]]:
        """For the device's report."""
        return self.mcus.facts()

    def own_facts(self) -> dict[str, object]:
        """What this device says of them: in its report, and when it is asked."""
        return {"mcus": self.facts(), "mcus_now": self.mcus.details()}

    @property
    def serial(self) -> SerialMcus | None:
        """The wires; None: there is no port for one."""
        return self._bridge

    def _know(self) -> None:
        self.mcus.know({*self._wired, *self._others})

    async def _keep(self, tasks: Tasks) -> None:
        """Begin with the wires when there is something to do with one, and keep the status file true."""
        while True:
            if self._bridge is None and (self._wired or _has_usb_ports(self._parts.machine)):
                self._begin(tasks)
            await self._relay.refresh()
            if self.status() != self._shown:
                self._show()
            self._tell_facts()
            await asyncio.sleep(QUIET_SECONDS)
            await woken(self._wake, REFRESH_SECONDS)

    def _begin(self, tasks: Tasks) -> None:
        from edgeagent.bridge.serialmcus import SerialMcus  # a device without any does without

        self._bridge = SerialMcus(self.mcus, self._parts.machine, self._wired)
        tasks.start("serial ports", self._bridge.run())

    def _changed(self) -> None:
        self._wake.set()

    def _tell_facts(self) -> None:
        facts = self.facts()
        if facts != self._facts and self._reports.allow():
            self._on_facts()
        self._facts = facts

    def _show(self) -> None:
        self._shown = self.status()
        self._parts.status.touch()

    def _unix_ms(self) -> int | None:
        now = self._parts.commands.time.now()
        return None if now is None else int(now * 1000)


def _has_usb_ports(machine: Machine) -> bool:
    """Whether a serial port is plugged in, or was: :mod:`edgeagent.bridge.usb` then says which."""
    try:
        names = os.listdir(machine.path("/sys/class/tty"))  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return False
    return any(name.startswith(("ttyACM", "ttyUSB")) for name in names)
