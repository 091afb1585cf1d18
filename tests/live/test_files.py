"""Files to a real device and back, over a real hub and leaf: as typed, over a link that is cut, and through a kill."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.fleet import Fleet
from tests.support.filing import CountingCable, FileDevice
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet
from tests.support.servers import kill, kill_leftovers, until
from tests.support.typed import typed

MB = 1_000_000
#: A device of its own for each test.
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("files"), 0) as fleet, fleet.borrowed():
        yield fleet


@pytest_asyncio.fixture
async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
    async with Fleet() as opened:
        yield opened


@pytest_asyncio.fixture
async def cable(hub: LiveFleet) -> AsyncIterator[CountingCable]:
    made = CountingCable(("127.0.0.1", hub.hub.options().leaf_port))
    await made.start()
    yield made
    await made.close()


@pytest_asyncio.fixture
async def device(hub: LiveFleet, fleet: Fleet, cable: CountingCable, tmp_path: Path) -> AsyncIterator[FileDevice]:
    made = FileDevice(hub, tmp_path / "device", f"pi-{next(NUMBERS)}", cable)
    await made.join(fleet.login)
    yield made
    kill_leftovers(made.folder)


@contextlib.asynccontextmanager
async def running(device: FileDevice) -> AsyncIterator[int]:
    """Its agent, linked; the pid. Its end is waited for beside the loop, which has the cable."""
    block = device.running()
    agent = block.__enter__()
    try:
        await device.linked()
        yield agent.pid
    finally:
        await asyncio.to_thread(block.__exit__, None, None, None)


def made(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


async def test_a_file_goes_there_and_back(fleet: Fleet, device: FileDevice, tmp_path: Path) -> None:
    local, there = made(tmp_path / "menu.json", 300_000), device.shop / "menu.json"
    push = ("file", "push", str(local), "-d", device.id, "--to", str(there), "--mode", "600", "--wait")
    async with running(device):
        said = await typed(*push)
        assert said.code == 0 and there.read_bytes() == local.read_bytes() and there.stat().st_mode & 0o777 == 0o600, said
        row = (await (await fleet.files.push(local, str(there), devices=[device.id])).wait(PATIENCE_SECONDS))[device.id]
        assert row.state == "succeeded" and row.result.value["unchanged"] is True

        back = tmp_path / "back"
        pull = ("file", "pull", device.id, str(there))
        said = await typed(*pull, str(back))
        assert said.code == 0 and back.read_bytes() == local.read_bytes() and not said.out, said
        said = await typed(*pull, str(back))
        assert said.code == 2 and "it is there already" in said.err, said
        back.write_text("old")
        assert (await typed(*pull, str(back), "--force")).code == 0 and back.read_bytes() == local.read_bytes()
        (device.shop / "words").write_text("hello\n")
        said = await typed("file", "pull", device.id, str(device.shop / "words"), "-")
        assert (said.code, said.out) == (0, "hello\n"), said
        said = await typed("file", "pull", device.id, "/etc/passwd", str(tmp_path / "passwd"))
        assert said.code == 3 and "in `file.pull`" in said.err and not (tmp_path / "passwd").exists(), said


async def test_a_file_waits_for_a_device_that_is_away(fleet: Fleet, device: FileDevice, tmp_path: Path) -> None:
    local = made(tmp_path / "menu.json", 100_000)
    sent = await fleet.files.push(local, str(device.shop / "menu.json"), devices=[device.id])
    local.unlink()
    async with running(device):
        row = (await sent.wait(PATIENCE_SECONDS))[device.id]
        assert row.state == "succeeded", row
    assert (device.shop / "menu.json").stat().st_size == 100_000


async def test_a_link_that_is_cut_in_the_middle(fleet: Fleet, device: FileDevice, cable: CountingCable, tmp_path: Path) -> None:
    local, there = made(tmp_path / "menu.json", 5 * MB), device.shop / "menu.json"
    async with running(device):
        before, middle = cable.carried, cable.until_more(2 * MB)
        sent = await fleet.files.push(local, str(there), devices=[device.id])
        await middle.wait()
        await cable.cut()
        await until(lambda: not device.is_linked, "it is cut off")
        assert not there.exists()
        await cable.restore()
        row = (await sent.wait(PATIENCE_SECONDS))[device.id]
        assert row.state == "succeeded", row
        assert there.read_bytes() == local.read_bytes() and cable.carried - before < 7 * MB

        middle = cable.until_more(2 * MB)
        pulling = asyncio.create_task(fleet.files.pull(device.id, str(there), tmp_path / "back", timeout=PATIENCE_SECONDS))
        await middle.wait()
        await cable.cut()
        await until(lambda: not device.is_linked, "it is cut off")
        await cable.restore()
        assert (await pulling).read_bytes() == local.read_bytes()


async def test_an_agent_that_is_killed_in_the_middle_goes_on_where_it_was(
    fleet: Fleet, device: FileDevice, cable: CountingCable, tmp_path: Path
) -> None:
    local, there = made(tmp_path / "menu.json", 5 * MB), device.shop / "menu.json"
    partials = device.folder / "file"
    async with running(device) as pid:
        before, middle = cable.carried, cable.until_more(3 * MB)
        sent = await fleet.files.push(local, str(there), devices=[device.id])
        await middle.wait()
        kill(pid)
        assert not there.exists() and [path.stat().st_size > MB for path in partials.iterdir()] == [True]
    async with running(device):
        row = (await sent.wait(PATIENCE_SECONDS))[device.id]
        assert row.state == "succeeded" and there.read_bytes() == local.read_bytes(), row
    assert cable.carried - before < 7.5 * MB, "it went on where it was"
    assert list(partials.iterdir()) == []


async def test_cancelled_in_the_middle_it_leaves_what_was_there(
    fleet: Fleet, device: FileDevice, cable: CountingCable, tmp_path: Path
) -> None:
    local, there = made(tmp_path / "menu.json", 5 * MB), device.shop / "menu.json"
    there.write_text("old")
    async with running(device):
        middle = cable.until_more(2 * MB)
        sent = await fleet.files.push(local, str(there), devices=[device.id])
        await middle.wait()
        await cable.cut()  # else it may be over before the cancellation is there
        await fleet.commands.cancel(sent.id)
        await cable.restore()
        row = (await sent.wait(PATIENCE_SECONDS))[device.id]
    assert row.state in ("cancelled", "succeeded"), row
    assert (there.read_text() == "old") if row.state == "cancelled" else there.read_bytes() == local.read_bytes()
