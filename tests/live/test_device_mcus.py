"""A whole agent with wired microcontrollers: what its status and its facts say of them, and when it begins with wires at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeagent import settings, status
from edgeagent.assembly import devicemcus
from edgeagent.assembly.device import Agent
from edgeagent.natsserver import ports
from edgeagent.serialsettings import SerialMcu
from edgeagent.status import McuStatus
from tests.support import fakeroot
from tests.support.fakeusb import PICO, plug
from tests.support.servers import until
from tests.support.virtualmcu import Cable, VirtualMcu

USB = SerialMcu(usb=PICO, serial_number="AAA")


class Device:
    """A Pi whose machine is a folder."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.root = fakeroot.pi_4(folder / "root")
        (folder / "agent.toml").write_text(
            f'[device]\nid = "pi-1"\n[leaf]\nport = {ports.pick()}\n[paths]\nstate = "state"\nruntime = "run"\n{more}'
        )
        self.settings = settings.load(folder / "agent.toml")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        stop = asyncio.Event()
        async with Agent(self.settings, stop, self.root.machine) as agent:
            running = asyncio.create_task(agent.run())
            try:
                yield agent
            finally:
                stop.set()
                await running

    def mcu(self, mcu_id: str) -> McuStatus:
        return self.mcus().get(mcu_id, McuStatus(id=mcu_id, state="unknown"))

    def mcus(self) -> dict[str, McuStatus]:
        with contextlib.suppress(Exception):
            return {each.id: each for each in status.read(self.settings.status_file).mcus}
        return {}


async def test_an_agent_begins_with_wires_when_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devicemcus, "REFRESH_SECONDS", 0.1)
    device = Device(tmp_path)
    async with device.running() as agent, VirtualMcu(tmp_path, "probe", Cable(), count=5) as board:
        await until(lambda: agent.mcus._shown == [] and agent.mcus.serial is None, "it has none")
        plug(device.root, "ttyACM0", board.cable.plug(), serial="AAA")
        await until(lambda: list(device.mcus()) == [f"{PICO}:AAA"], "its status has what was found")
        assert device.mcus()[f"{PICO}:AAA"].state == "found" and agent.mcus.facts() == []
        assert not board.cable.heard

        agent.mcus.set_added({"probe": USB}, others=["by-mqtt"])
        await until(lambda: device.mcu("probe").readings == 5, "its readings are counted")
        assert {key: each.state for key, each in device.mcus().items()} == {"probe": "online", "by-mqtt": "offline"}
        probe = {"id": "probe", "state": "online", "kind": "usb", "firmware": "1.0.0", "hardware": "virtual"}
        assert probe in agent.facts.stable()["mcus"]  # type: ignore[operator]
        agent.mcus.set_added({})
        await until(lambda: list(device.mcus()) == [f"{PICO}:AAA"], "it is nobody's again")


async def test_its_settings_go_before_what_was_added(tmp_path: Path) -> None:
    device = Device(tmp_path, f'[serial.mcus.oven]\nusb = "{PICO}"\n[serial.mcus.gone]\nport = "/dev/ttyAMA0"\n')
    cable = Cable()
    plug(device.root, "ttyACM0", cable.plug(), serial="AAA")
    try:
        async with device.running() as agent:
            agent.mcus.set_added({"probe": USB, "gone": SerialMcu(port="/dev/ttyS0")})
            await until(lambda: b'"t":"hi"' in cable.heard, "it is opened")
            await until(lambda: "there is no /dev/ttyAMA0" in device.mcu("gone").problem, "what is wrong is said")
            assert set(device.mcus()) == {"oven", "gone"}
            told = agent.commands.time.now()
            assert (b'"u":' in cable.heard) == (told is not None)
    finally:
        cable.unplug()


async def test_ports_are_given_back_at_the_end(tmp_path: Path) -> None:
    device = Device(tmp_path, f'[serial.mcus.oven]\nusb = "{PICO}"\n')
    cable = Cable()
    plug(device.root, "ttyACM0", cable.plug(), serial="AAA")
    try:
        async with device.running() as agent:
            await until(lambda: b'"t":"hi"' in cable.heard, "it is opened")
        assert agent.mcus.serial and not agent.mcus.serial._wires
    finally:
        cable.unplug()
