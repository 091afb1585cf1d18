"""The store of a real agent: bounded by its disk, alive again after that was full, and told of in its status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import localsubjects
from edgeagent.errors import EdgeError
from edgeagent.journal import FILE, Journal
from edgeagent.leaf.storelimit import MIN_BYTES, used_bytes
from edgeagent.link import Client, connect
from edgeagent.publish import published
from tests.support.commanding import Author, heard, person
from tests.support.enrolling import NewDevice
from tests.support.servers import kill_leftovers, until
from tests.support.smalldisk import SmallDisk, small_disk
from tests.support.trusthub import TrustHub

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 64) as disk:
        yield disk
        kill_leftovers(disk.path)
        kill_leftovers(tmp_path / "device")


def device_on(folder: Path, disk: SmallDisk, more: str = "") -> NewDevice:
    """A device whose state is on the small disk, and all else beside it."""
    device = NewDevice(folder / "device", reconnect_seconds=0.2, more=more)
    text = device.settings.read_text()
    device.settings.write_text(text.replace('state = "state"', f'state = "{disk.path / "state"}"'))
    device.state = disk.path / "state"
    return device


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        hub.groups = ["berlin"]
        hub.signers = {hub._roles[role].public: role for role in ("operator", "admin", "group-operator")}
        yield hub
    kill_leftovers(tmp_path / "hub")


async def program(device: NewDevice) -> Client:
    await until(lambda: (found := device.status()) is not None and found.leaf.state == "running", "its leaf runs")
    status = device.status()
    assert status
    url = f"nats://127.0.0.1:{status.leaf.port}"
    return await connect(url, what="reach the leaf", name="program", inbox_prefix="_INBOX.program")


async def kept(client: Client, data: bytes = b"1", subject: str = localsubjects.local_metric("program")) -> bool:
    """Whether the leaf has acknowledged a sample, or what else is sent on ``subject``."""
    try:
        await published(client, subject, data, timeout=0.5)
    except EdgeError:
        return False
    return True


async def test_a_full_disk_refuses_commands_and_all_flows_again_when_there_is_space(
    hub: TrustHub, disk: SmallDisk, tmp_path: Path
) -> None:
    device, author = device_on(tmp_path, disk), Author(await hub.connect("OPS"), person(hub))
    await device.enrolled_with(hub)
    with device.running():
        await until(lambda: device.is_linked, "it is linked")
        assert (await heard(author.client, await author.send("ping"))).state == "succeeded"
        leaf = await program(device)
        await until(lambda: kept(leaf), "samples are stored")
        disk.fill()
        while await kept(leaf, b"1" + b" " * 8000):
            pass
        await until(lambda: "samples and messages are not stored, and commands are refused" in device.problems, "it is said")
        sent = [await author.send("ping") for _ in range(5)]
        refused = [await heard(author.client, each) for each in sent]
        assert all(each.state == "refused" and each.reason.startswith("no space: ") for each in refused), refused
        await until(lambda: "cannot keep the commands" in device.log, "the journal had no room for them, and the hub was told")
        disk.drain()
        await until(lambda: leaf.is_connected and kept(leaf), "samples are stored again", 60)
        await until(lambda: device.problems == "", "nothing is wrong any more", 60)
        done = await heard(author.client, await author.send("ping"))
        assert done.state == "succeeded"
        assert {(await heard(author.client, each)).state for each in sent} == {"refused"}, "they are not carried out afterwards"
        await leaf.close()
    journal = Journal(device.state / FILE)
    kept_there = [journal.command(each) for each in sent]
    journal.close()
    assert [(each.result.state, each.begun) for each in kept_there if each] == [("refused", 0)] * 5


async def test_a_flood_without_a_hub_stays_within_the_bound_and_keeps_the_newest(disk: SmallDisk, tmp_path: Path) -> None:
    """Its settings would let it have 512 MiB; the disk has 64, and a tenth of it is the floor."""
    device = device_on(tmp_path, disk)
    with device.running():
        leaf = await program(device)
        metric, data = localsubjects.local_metric("flood"), localsubjects.local_data("flood.x")
        await until(lambda: kept(leaf), "samples are stored")
        await until(lambda: kept(leaf, subject=data), "messages are stored")
        least, large = disk.free, bytes(400_000)
        for number in range(130):  # 52 MB of messages and 39 MB of samples
            for part in range(10):
                await leaf.publish(metric, b'{"number":%d%s}' % (number * 10 + part, b" " * 30_000))
            await published(leaf, data, large, timeout=10)
            least = min(least, disk.free)
        await until(lambda: kept(leaf, b'{"last":1}'), "the last one is stored")
        state = (await leaf_state(device)).state
        await leaf.close()
        assert state.first_seq > 1 and state.last_seq >= 1300, "the oldest went"
        assert used_bytes(device.state / "js") <= 64 * MIB - (64 * MIB) // 10
        assert least >= 64 * MIB // 10 - 2 * MIB, "the floor, but for what the agent itself writes"
        assert device.problems.count("space") == 0


async def leaf_state(device: NewDevice):  # type: ignore[no-untyped-def]
    """Of the stream of samples, as the agent's login sees it."""
    from edgeagent.leaf.secrets import load

    login, status = load(device.state / "secrets.json"), device.status()
    assert login and status
    url = f"nats://127.0.0.1:{status.leaf.port}"
    client = await connect(url, what="look", name="look", inbox_prefix="_INBOX.agent.look", password=("agent", login.agent))
    try:
        return await client.jetstream().stream_info(localsubjects.LOCAL_METRICS)
    finally:
        await client.close()


async def test_a_disk_without_room_for_anything_useful_is_said(disk: SmallDisk, tmp_path: Path) -> None:
    (disk.path / "another's").write_bytes(bytes(disk.free - MIN_BYTES))
    device = device_on(tmp_path, disk)
    with device.running():
        await until(lambda: "has too little room: samples and messages have 16 MiB" in device.problems, "it is said")
    (disk.path / "another's").unlink()
    with device.running():
        await until(lambda: (found := device.status()) is not None and found.leaf.state == "running", "its leaf runs")
        assert "too little room" not in device.problems


async def test_a_smaller_limit_leaves_the_streams_alive(disk: SmallDisk, tmp_path: Path) -> None:
    """nats-server takes neither messages nor smaller limits for streams that were promised more than it may have."""
    device = device_on(tmp_path, disk)
    with device.running():
        leaf = await program(device)
        await until(lambda: kept(leaf), "samples are stored")
        before = (await leaf_state(device)).config.max_bytes
        await leaf.close()
    device.settings.write_text(device.settings.read_text() + f"store_max_bytes = {20 * MIB}\n")
    for _ in range(2):
        with device.running():
            again = await program(device)
            while not await kept(again):
                pass

            async def is_smaller() -> bool:
                return bool((await leaf_state(device)).config.max_bytes == int(0.55 * 20 * MIB) < before)

            await until(is_smaller, "the stream has its new limit")
            await again.close()
    assert f"max_file_store: {20 * MIB}" in (device.state / "leaf.conf").read_text()
