"""The forwarder when the network, other writers, floods and rubbish get in its way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent import localsubjects, subjects
from edgeagent.chunk import MAX_UNPACKED_BYTES, Progress, decode_metrics, pack, points_of
from edgeagent.direct import read_all
from edgeagent.hub.chunkindex import ChunkIndex
from edgeagent.link import Client
from edgeagent.metricsettings import ForwardSettings
from edgeagent.patterns import forwarder, hubcursor
from edgeagent.patterns.forwarder import Forwarder
from edgeagent.publish import published
from edgeagent.runtime import Tasks
from tests.support.deaf import Deaf
from tests.support.forwarding import DATA, METRICS, ForwardingDevice, Kind, chunks, numbers
from tests.support.servers import until
from tests.support.trusthub import TrustHub


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


async def test_a_chunk_whose_acknowledgement_was_lost_is_not_sent_again(
    hub: TrustHub, tmp_path: Path, hub_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "ACK_SECONDS", 2.0)
    monkeypatch.setattr(hubcursor, "TIMEOUT_SECONDS", 2.0)
    async with Deaf(hub.leaf_port) as way:
        device = ForwardingDevice(hub, tmp_path / "pi-1", hub_port=way.port)
        async with device.leaf_running(), device.forwarding() as forwarding:
            await device.publish(9)
            await device.idle()
            for _ in range(3):
                way.deaf = True
                before = device.published
                await device.publish(9)

                async def is_stored(before: int = before) -> bool:
                    return len(await numbers(hub_client)) > before

                await until(is_stored, "the hub has a chunk that nobody knows of")
                assert forwarding.status().waiting > 0
                await way.cut()
                forwarding.link_came()
                await device.idle()
    assert await numbers(hub_client) == list(range(device.published))


async def test_two_forwarders_of_one_device_do_no_harm(device: ForwardingDevice, hub_client: Client) -> None:
    tasks = Tasks()
    async with device.forwarding():
        second = Forwarder(
            device.client, device.id, device.kind, device.settings, hint=device.folder / "second.json", tell=device.tell
        )
        second.start(tasks)
        try:
            for _ in range(10):
                await device.publish(700)
            await device.idle(seconds=60)
        finally:
            await tasks.close()
    assert await numbers(hub_client) == list(range(device.published))


async def test_a_flood_beyond_the_store_is_counted_to_the_message(hub: TrustHub, tmp_path: Path, hub_client: Client) -> None:
    """Away from the hub: what the store could not keep is dropped, the oldest first; and nothing else."""
    async with Deaf(hub.leaf_port) as way:
        device = ForwardingDevice(hub, tmp_path / "pi-1", hub_port=way.port, store_bytes=1 << 20)
        async with device.leaf_running(), device.forwarding() as forwarding:
            await device.publish(99)
            await device.idle()
            way.deaf = True
            await device.publish(20_000)
            state = await forwarding._look()
            assert state.messages < 15_000 and state.bytes <= 1 << 20
            status = forwarding.status()
            assert status.dropped["retention"] > 0
            assert device.published == status.forwarded + status.waiting + status.dropped["retention"]
            await way.cut()
            forwarding.link_came()
            await device.idle(seconds=60)
            status = forwarding.status()
        async with device.leaf_running(), device.forwarding() as forwarding:
            await device.idle()
            assert forwarding.status().dropped == status.dropped
    found = await numbers(hub_client)
    assert device.published == len(found) + status.dropped["retention"] and status.forwarded == len(found)
    assert found[-1000:] == list(range(device.published - 1000, device.published))


async def test_what_is_new_does_not_wait_for_a_backlog(device: ForwardingDevice, hub_client: Client) -> None:
    await device.publish(30_000)
    device.settings = ForwardSettings(seconds=0.1)
    arrived = asyncio.Event()
    heard: list[Progress] = []

    async def hear(message: Any) -> None:
        chunk = decode_metrics(message.data)
        heard.append(chunk.progress)
        if any(point.source == "door" for point in points_of(chunk)):
            arrived.set()

    await hub_client.subscribe(subjects.live(device.id, "metric"), cb=hear)
    await hub_client.flush()
    async with device.forwarding():
        await until(lambda: any(progress.gaps for progress in heard), "a backlog is on its way")
        await device.js.publish(localsubjects.local_metric("door"), b"1")
        await until(arrived.is_set, "the new sample is there")
        assert heard[-1].gaps, "the backlog was there before it"
        await device.idle(seconds=60)
    assert sorted(await numbers(hub_client)) == sorted([*range(device.published), 1])


async def test_rubbish_stops_nobody_and_is_told_once(device: ForwardingDevice, hub_client: Client) -> None:
    for payload in (b"rubbish{", b"1", b"\xff\xfe", b'{"a": "\\ud800", "b": 2}', b"[[[", json.dumps({"a": 3}).encode()):
        await device.js.publish(localsubjects.local_metric("door"), payload)
    async with device.forwarding() as forwarding:
        await until(lambda: forwarding.status().known and not forwarding.status().waiting, "all are through")
        status = forwarding.status()
    assert status.forwarded + status.dropped["malformed"] == 6
    found = [point.sample.value for _, chunk in await chunks(hub_client) for point in points_of(chunk)]
    assert {1, 3} <= set(found) and len([kind for kind, _ in device.told if kind == "metric.malformed"]) == 1


async def test_a_number_beyond_all_floats_stops_nobody(device: ForwardingDevice, hub_client: Client) -> None:
    await device.js.publish(localsubjects.local_metric("evil"), b'{"a": 1, "time": 1' + b"0" * 400 + b"}")
    async with device.forwarding() as forwarding:
        await device.publish(9)
        await device.idle()
        assert forwarding.status().dropped == {"malformed": 1}
    assert await numbers(hub_client) == list(range(device.published))


@pytest.mark.parametrize("kind", [METRICS, DATA], ids=lambda kind: kind.name)
async def test_what_the_hub_finds_too_large_holds_up_nothing(device: ForwardingDevice, hub_client: Client, kind: Kind) -> None:
    """The stream takes less than it should: of a hub that nobody upgraded, or that somebody changed."""
    js = hub_client.jetstream()
    await js.update_stream((await js.stream_info(kind.stream)).config.evolve(max_msg_size=2000))
    device.kind = kind
    large = json.dumps({f"v{number}": number / 7 for number in range(400)}).encode()
    await device.publish(700, kind=kind)
    await device.js.publish(kind.subject.replace(">", "large"), large)
    await device.publish(9, kind=kind)
    async with device.forwarding() as forwarding:
        await device.idle()
        assert forwarding.status().dropped == {"too_large": 1}
    assert await numbers(hub_client, kind=kind) == list(range(device.published))
    assert [kind for kind, _ in device.told] == [f"{kind.name}.too_large"]


@pytest.mark.parametrize("hint", ["hint", "no-hint"])
async def test_a_chunk_that_cannot_be_read_stops_no_forwarder(
    hub: TrustHub, device: ForwardingDevice, hub_client: Client, hint: str
) -> None:
    """Nobody else can store it, so it is the device's own. It goes on from the newest that can be read."""
    async with ChunkIndex(hub_client, await hub.connect("HUB")):
        await device.publish(9)
        async with device.forwarding():
            await device.idle()
        for bad in (b"", b"{", bytes(40), pack(b" " * (MAX_UNPACKED_BYTES + 1))):
            if hint == "no-hint":
                (device.folder / "forward-metric.json").unlink()
            for _ in range(25):  # more than the index passes over at once
                await published(hub_client, subjects.metric(device.id), bad)
            await device.publish(9)
            async with device.forwarding():
                await device.idle()
    assert await numbers(hub_client) == list(range(device.published)) and not device.told


async def test_where_no_chunk_can_be_read_the_hint_counts(hub: TrustHub, device: ForwardingDevice, hub_client: Client) -> None:
    await device.publish(9)
    async with device.forwarding():
        await device.idle()
    await hub_client.jetstream().purge_stream(subjects.METRICS)
    await published(hub_client, subjects.metric(device.id), b"{")
    before = device.published
    await device.publish(9)
    async with ChunkIndex(hub_client, await hub.connect("HUB")), device.forwarding():
        await device.idle()
    assert await numbers(hub_client) == list(range(before, device.published))


async def test_the_link_is_not_taken_beyond_its_cap(device: ForwardingDevice, hub_client: Client) -> None:
    """Pauses are between chunks, so there are at least as many seconds as all but the last of them need."""
    await device.publish(2500)
    device.settings = ForwardSettings(seconds=0.1, bytes_per_second=8 << 10)
    begun = asyncio.get_running_loop().time()
    async with device.forwarding():
        await device.idle()
    seconds = asyncio.get_running_loop().time() - begun
    sizes = [len(item.data) async for item in read_all(hub_client, subjects.METRICS, subjects.metric(), prefix="$JS.API")]
    assert len(sizes) >= 5 and seconds >= sum(sizes[:-1]) / (8 << 10) > 0.5
