"""Every reading of a wired microcontroller is at the hub once, or counted as dropped by its own ring, whatever is torn, killed or unplugged."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.fleet import Fleet
from edgeagent.status import McuStatus
from tests.support.fleet import STEADY, LiveFleet
from tests.support.servers import is_alive, kill, until
from tests.support.virtualmcu import Cable, VirtualMcu

DEVICE, MCU = "pi-01", "probe"
COUNT, RING = 400, 60


@pytest.fixture
def port(tmp_path: Path) -> Path:
    """A path as udev makes them; what is plugged in appears there."""
    return tmp_path / "dev" / "serial" / "by-id" / "usb-probe"


@pytest.fixture
def live(tmp_path: Path, port: Path) -> Iterator[LiveFleet]:
    text = f'[forward]\nseconds = 0.2\n[serial.mcus.{MCU}]\nport = "{port}"\n'
    with LiveFleet(tmp_path / "fleet", 1, STEADY, more=lambda device: text) as fleet, fleet.borrowed():
        yield fleet


@pytest_asyncio.fixture
async def board(tmp_path: Path) -> AsyncIterator[VirtualMcu]:
    cable = Cable(torn=0.15, lost_acks=0.3)
    async with VirtualMcu(tmp_path / "mcu", MCU, cable, count=COUNT, interval=0.02, ring=RING) as mcu:
        yield mcu


def status(live: LiveFleet) -> McuStatus:
    (found,) = [mcu for mcu in live.status(DEVICE).mcus if mcu.id == MCU] or [McuStatus(id=MCU, state="")]
    return found


async def at_hub(fleet: Fleet) -> Counter[tuple[str, int]]:
    """Boot and number of each reading that operators see, with how often it is there."""
    found: Counter[tuple[str, int]] = Counter()
    async for each in fleet.metrics.history(since=timedelta(hours=1), metric_name="mcu.n", source="mcu"):
        words = dict(each.series.attributes)
        assert each.device == DEVICE and words["mcu"] == MCU
        found[words["boot"], int(each.value)] += 1
    return found


async def reported(fleet: Fleet, firmware: str) -> bool:
    """Whether the device's last report has it so."""
    found = await fleet.query(select=["mcus"], cached=True)
    mcus = [mcu for row in (*found.answered, *found.silent, *found.offline) for mcu in (row.facts or {}).get("mcus", [])]
    return any(mcu["id"] == MCU and mcu["firmware"] == firmware for mcu in mcus)


async def kill_agent(live: LiveFleet) -> None:
    before = live.pid(DEVICE)
    kill(before)
    await until(lambda: not is_alive(before) and live.pid(DEVICE) != before, "another agent runs")


async def test_each_reading_is_at_the_hub_once_or_counted(live: LiveFleet, board: VirtualMcu, port: Path) -> None:
    async with Fleet() as fleet:

        async def arrived(count: int) -> None:
            async def enough() -> bool:
                return len(await at_hub(fleet)) >= count

            await until(enough, f"{count} readings are at the hub", 60)

        board.cable.plug(port)
        await arrived(20)
        await kill_agent(live)
        await arrived(60)
        await until(lambda: status(live).damaged > 0, "torn frames are counted")

        board.cable.unplug()
        await until(lambda: status(live).state == "offline", "the agent sees that it is unplugged")
        await until(lambda: bool(board.did("dropped")), "its ring was too small for that")
        other = Cable(seed=2)
        other.plug()  # so that the next terminal has another name
        board.cable.plug(port)
        other.unplug()
        seen = len(await at_hub(fleet))
        await arrived(seen + 20)
        await kill_agent(live)

        await until(lambda: len(board.did("made")) == COUNT, "it has measured everything", 60)
        made, dropped = set(board.did("made")), set(board.did("dropped"))

        async def complete() -> bool:
            return made - set(await at_hub(fleet)) <= dropped

        await until(complete, "what it did not drop is at the hub", 60)
        found = await at_hub(fleet)
        assert set(found) <= made and set(found.values()) == {1}
        assert made - set(found), "it lost some for good"
        await until(lambda: status(live).lost == len(dropped), f"{len(dropped)} are counted as lost")
        now = status(live)
        assert now.state == "online" and now.kind == "usb" and now.firmware == "1.0.0"
        await until(lambda: reported(fleet, "1.0.0"), "the hub has it in the report")
