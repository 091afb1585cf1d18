"""The forwarder over a real leaf and a real hub: everything once, in order, through what usually goes wrong."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent.chunk import points_of
from edgeagent.hub import streams
from edgeagent.hub.chunkindex import ChunkIndex
from edgeagent.link import Client
from edgeagent.metricsettings import ForwardSettings
from tests.support.forwarding import DATA, METRICS, ForwardingDevice, chunks, numbers, ordered
from tests.support.servers import until
from tests.support.trusthub import STORE_BYTES, TrustHub


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        yield hub


@pytest_asyncio.fixture
async def hub_client(hub: TrustHub) -> Client:
    return await hub.connect("HUB")


@pytest_asyncio.fixture
async def device(hub: TrustHub, tmp_path: Path) -> AsyncIterator[ForwardingDevice]:
    async with ForwardingDevice(hub, tmp_path / "pi-1").leaf_running() as device:
        yield device


@pytest.mark.parametrize("kind", [METRICS, DATA], ids=lambda kind: kind.name)
async def test_what_is_published_reaches_the_hub_once_and_in_order(device: ForwardingDevice, hub_client: Client, kind) -> None:
    device.kind = kind
    await device.publish(1200, kind=kind)
    async with device.forwarding():
        await device.idle()
        await device.publish(10, kind=kind)
        await device.idle()
    assert await numbers(hub_client, kind=kind) == list(range(device.published))
    async with device.forwarding() as again:
        await device.idle()
        status = again.status()
    assert (status.forwarded, status.waiting, status.dropped, status.epoch) == (device.published, 0, {}, 0)
    assert len(await numbers(hub_client, kind=kind)) == device.published


async def test_what_is_hastened_waits_for_no_others(device: ForwardingDevice, hub_client: Client) -> None:
    device.settings = ForwardSettings(seconds=3600)
    async with device.forwarding() as forwarder:
        await until(lambda: forwarder.status().known, "it knows where to go on")
        await device.publish(1)
        forwarder.hasten()
        await device.idle()
    assert await numbers(hub_client) == [0, 1]


async def settled(device: ForwardingDevice) -> None:
    async with device.forwarding():
        await device.idle()


@pytest_asyncio.fixture
async def index(hub: TrustHub) -> AsyncIterator[None]:
    async with ChunkIndex(await hub.connect("HUB"), await hub.connect("HUB")):
        yield


def values(found: list[Any]) -> list[int]:
    return [int(point.sample.value) for chunk in found for point in points_of(chunk)]


async def test_a_store_that_went_back_sends_what_is_new_and_nothing_twice(
    hub: TrustHub, tmp_path: Path, hub_client: Client, index: None
) -> None:
    """Twice: 0..9 | copy | 10..14 sent, lost | 15..19 | another copy | 20.. sent, lost | 25.."""
    device = ForwardingDevice(hub, tmp_path / "pi-1")
    async with device.leaf_running():
        await device.publish(9)
        await settled(device)
    device.save("first")
    for count in (4, 5):
        async with device.leaf_running():
            for _ in range(3):
                await device.publish(count)
                await settled(device)
        device.put_back("first")
        async with device.leaf_running():
            await device.publish(1)
            await settled(device)
            await device.publish(1)
            await settled(device)
    assert await numbers(hub_client) == list(range(device.published))
    assert [chunk.progress.epoch for chunk in ordered(await chunks(hub_client))][-1] == 2
    assert [kind for kind, _ in device.told] == ["forward.anew"] * 2


async def test_what_was_published_over_the_lost_numbers_is_not_skipped(
    hub: TrustHub, tmp_path: Path, hub_client: Client, index: None
) -> None:
    """Before the forwarder looks again, the new messages are more than the lost ones were; and a backlog's chunk is the hub's newest."""
    device = ForwardingDevice(hub, tmp_path / "pi-1")
    device.settings = ForwardSettings(seconds=0.1)
    async with device.leaf_running():
        await device.publish(7000)
    device.save("early")
    async with device.leaf_running():
        await settled(device)
        assert any(chunk.progress.gaps for _, chunk in await chunks(hub_client))
        await device.publish(20)
        await settled(device)
    device.put_back("early")
    async with device.leaf_running():
        await device.publish(600)
        await settled(device)
    assert await numbers(hub_client) == list(range(device.published))


async def test_a_new_card_goes_on_under_another_epoch_and_the_old_one_is_known_again(
    hub: TrustHub, tmp_path: Path, hub_client: Client, index: None
) -> None:
    device = ForwardingDevice(hub, tmp_path / "pi-1")
    async with device.leaf_running():
        await device.publish(9)
        await settled(device)
        await device.publish(9)
        await settled(device)
    device.save("old")
    shutil.rmtree(device.store)
    (device.folder / "forward-metric.json").unlink()
    async with device.leaf_running():
        await device.publish(4)
        await settled(device)
    device.put_back("old")
    async with device.leaf_running():
        await device.publish(4)
        await settled(device)
    assert await numbers(hub_client) == list(range(device.published))
    assert sorted({chunk.progress.epoch for _, chunk in await chunks(hub_client)}) == [0, 1, 2]


async def test_a_hub_that_went_back_gets_what_it_lost_again(hub: TrustHub, tmp_path: Path) -> None:
    device = ForwardingDevice(hub, tmp_path / "pi-1")
    async with device.leaf_running():
        await device.publish(9)
        await settled(device)
        await restored(hub, lambda: shutil.copytree(hub.folder / "js", tmp_path / "copy"))
        await device.publish(9)
        await settled(device)

        def put_back() -> None:
            shutil.rmtree(hub.folder / "js")
            shutil.copytree(tmp_path / "copy", hub.folder / "js")

        await restored(hub, put_back)
        await device.publish(9)
        await settled(device)
    assert await numbers(await hub.connect("HUB")) == list(range(device.published))


async def test_a_wiped_hub_gets_what_is_new(hub: TrustHub, tmp_path: Path) -> None:
    device = ForwardingDevice(hub, tmp_path / "pi-1")
    async with device.leaf_running():
        await device.publish(9)
        await settled(device)
        await restored(hub, lambda: shutil.rmtree(hub.folder / "js"))
        client = await hub.connect("HUB")
        await streams.ensure(client.jetstream(), STORE_BYTES)
        await device.publish(9)
        await settled(device)
        assert await numbers(client) == list(range(10, 20))


async def restored(hub: TrustHub, change: Callable[[], object]) -> None:
    """Kill the hub's nats-server, change its files, start it again."""
    hub.kill()
    change()
    await hub.start()
