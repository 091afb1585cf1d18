"""Keeps the ports of a device's wired microcontrollers: finds them, opens them, and again after whatever happened to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from edgeagent.bridge.serialport import set_up
from edgeagent.bridge.serialwire import Keeper, Wire
from edgeagent.bridge.usb import Ports, UsbPort
from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.machine import Machine
from edgeagent.runtime import woken
from edgeagent.serialsettings import SerialMcu
from edgeagent.status import McuStatus

__all__ = ["SerialMcus"]

log = logging.getLogger("edgeagent")

#: How often to look what is plugged in, in seconds.
LOOK_SECONDS = 1.0
#: The pause after a port could not be opened, in seconds: at each try DTR may move.
AGAIN_SECONDS = 5.0


class _Place(NamedTuple):
    """Where a microcontroller is now. path: to open. where: for people."""

    path: str
    kind: str
    where: str


class SerialMcus:
    """The wired microcontrollers of ``machine``. keeper: gets all that they say. ``async with released(id):`` gives a port to another program."""

    def __init__(self, keeper: Keeper, machine: Machine, wanted: Mapping[str, SerialMcu]) -> None:
        self._keeper, self._machine, self._wanted = keeper, machine, dict(wanted)
        self._ports = Ports(machine)
        self._plugged: list[UsbPort] = []
        self._wires: dict[str, tuple[Wire, _Place, SerialMcu]] = {}
        self._gone: set[str] = set()
        self._released: dict[str, int] = {}
        self._again: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._wake, self._opening = asyncio.Event(), asyncio.Lock()

    def want(self, wanted: Mapping[str, SerialMcu]) -> None:
        """These belong to the device from now on; the port of any that is another now is opened anew."""
        self._wanted = dict(wanted)
        self._again.clear()
        self._wake.set()

    async def run(self) -> None:
        """Keep their ports for ever; they are closed at the end."""
        try:
            while True:
                async with self._opening:
                    await self._look()
                await woken(self._wake, LOOK_SECONDS)
        finally:
            for mcu_id in list(self._wires):
                await self._close(mcu_id, "the agent ended")

    def found(self) -> list[McuStatus]:
        """What is plugged in and nobody's; it is never opened."""
        taken = {place.path for _, place, _ in self._wires.values()}
        mine = {port.device for port in self._plugged if self._is_wanted(port) or self._ports.resolve(port.path) in taken}
        free = {port.device: port for port in reversed(self._plugged) if port.device not in mine}
        return [_found(port) for _, port in sorted(free.items())]

    @contextlib.asynccontextmanager
    async def released(self, mcu_id: str) -> AsyncIterator[str]:
        """Within the block its port is closed, and another program may have it; gives the port's path. Raises UsageProblem: it has none now."""
        self._released[mcu_id] = self._released.get(mcu_id, 0) + 1
        try:
            async with self._opening:
                place = self._wires[mcu_id][1] if mcu_id in self._wires else self._places().get(mcu_id)
                await self._close(mcu_id, "its port is in use for something else")
            if not isinstance(place, _Place):
                raise UsageProblem(f"release the port of {mcu_id}", place or "there is no such microcontroller on a wire")
            yield place.path
        finally:
            self._released[mcu_id] -= 1
            self._again.pop(mcu_id, None)
            self._wake.set()

    async def _look(self) -> None:
        """What is to be closed or opened now."""
        self._plugged = self._ports.usb()
        for mcu_id, (_, _, mcu) in list(self._wires.items()):
            if mcu_id in self._gone or self._wanted.get(mcu_id) != mcu:
                await self._close(mcu_id, "" if mcu_id in self._gone else "it is not in the settings any more")
        self._gone.clear()
        for mcu_id, place in self._places().items():
            if isinstance(place, _Place):
                await self._open(mcu_id, place)
            else:
                self._say(mcu_id, place)
        for mcu_id, (wire, _, _) in self._wires.items():
            self._say(mcu_id, wire.complaint)

    def _places(self) -> dict[str, _Place | str]:
        """Where each is that has no open port, or why it is nowhere. Whoever names a serial number or a path chooses first."""
        taken = {place.path for _, place, _ in self._wires.values()}
        found: dict[str, _Place | str] = {}
        for mcu_id, mcu in sorted(self._wanted.items(), key=lambda item: (not item[1].serial_number, not item[1].port)):
            if mcu_id in self._wires or self._released.get(mcu_id):
                continue
            place = found[mcu_id] = self._by_path(mcu) if mcu.port else self._by_usb(mcu, taken)
            if isinstance(place, _Place) and place.path in taken:
                found[mcu_id] = f"{place.path} is another's already"
            elif isinstance(place, _Place):
                taken.add(place.path)
        return found

    def _by_path(self, mcu: SerialMcu) -> _Place | str:
        path = self._ports.resolve(mcu.port)
        if path is None:
            return f"there is no {mcu.port}: it is not plugged in"
        is_usb = any(self._ports.resolve(port.path) == path for port in self._plugged)
        return _Place(path, "usb" if is_usb or "/serial/by-" in mcu.port else "uart", mcu.port)

    def _by_usb(self, mcu: SerialMcu, taken: set[str]) -> _Place | str:
        fitting = {port.device: port for port in reversed(self._plugged) if _fits(mcu, port)}
        places = {port: path for port in fitting.values() if (path := self._ports.resolve(port.path)) and path not in taken}
        if not places:
            return "it is not plugged in"
        if len(places) > 1:
            return f"{len(places)} of {mcu.usb} are plugged in: say which one by its `serial_number` ({', '.join(sorted(port.serial_number or port.name for port in places))})"
        ((port, path),) = places.items()
        return _Place(path, "usb", " ".join(filter(None, (port.path, port.key, port.what))))

    async def _open(self, mcu_id: str, place: _Place) -> None:
        loop, mcu = asyncio.get_running_loop(), self._wanted.get(mcu_id)
        if mcu is None or loop.time() < self._again.get(mcu_id, 0.0):
            return
        try:
            opened = await _opened(place.path, mcu, self._machine)
        except EdgeError as error:
            self._again[mcu_id] = loop.time() + AGAIN_SECONDS
            self._say(mcu_id, f"{error}")
            return
        self._again.pop(mcu_id, None)
        self._said.pop(mcu_id, None)

        def gone() -> None:
            self._gone.add(mcu_id)

        wire = Wire(self._keeper, mcu_id, mcu, opened, kind=place.kind, where=place.where, on_gone=gone)
        self._wires[mcu_id] = (wire, place, mcu)
        log.info("%s is at %s", mcu_id, place.where)

    async def _close(self, mcu_id: str, why: str) -> None:
        wire, _, _ = self._wires.pop(mcu_id, (None, None, None))
        if wire:
            await wire.close(why)

    def _say(self, mcu_id: str, why: str) -> None:
        """Once for each change: the status has it as long as it is so."""
        if mcu_id in self._wanted and self._said.get(mcu_id, "") != why:
            self._said[mcu_id] = why
            self._keeper.trouble(mcu_id, why)
            if why:
                log.info("%s: %s", mcu_id, why)

    def _is_wanted(self, port: UsbPort) -> bool:
        paths = [self._ports.resolve(mcu.port) for mcu in self._wanted.values() if mcu.port]
        return any(_fits(mcu, port) for mcu in self._wanted.values()) or self._ports.resolve(port.path) in paths


async def _opened(path: str, mcu: SerialMcu, machine: Machine) -> Any:
    return await asyncio.to_thread(set_up, path, mcu.baud, reset_on_open=mcu.reset_on_open, machine=machine)


def _fits(mcu: SerialMcu, port: UsbPort) -> bool:
    return bool(mcu.usb) and mcu.usb == port.usb and mcu.serial_number in ("", port.serial_number)


def _found(port: UsbPort) -> McuStatus:
    return McuStatus(id=port.key, state="found", kind="usb", where=" ".join(filter(None, (port.path, port.what))))
