"""Both streams on a device, put together as the agent has them: settings that change, and a store that is put back while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from msgspec.structs import replace

from edgeagent.assembly.devicemetrics import DeviceMetrics
from edgeagent.link import Client
from edgeagent.metricsettings import ForwardSettings
from edgeagent.runtime import Tasks
from edgeagent.schema import LeafSettings, PathSettings
from edgeagent.settings import Settings
from tests.support.forwarding import DATA, METRICS, ForwardingDevice, numbers
from tests.support.servers import until
from tests.support.trusthub import TrustHub


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        yield hub


@pytest_asyncio.fixture
async def hub_client(hub: TrustHub) -> Client:
    return await hub.connect("HUB")


async def test_both_streams_are_forwarded_and_a_shorter_patience_counts_at_once(
    hub: TrustHub, hub_client: Client, tmp_path: Path
) -> None:
    device, tasks = ForwardingDevice(hub, tmp_path / "pi-1"), Tasks()
    own, leaf = PathSettings(state=str(device.folder)), LeafSettings(store_max_bytes=device.store_bytes)
    wanted = Settings(paths=own, leaf=leaf, forward=ForwardSettings(seconds=3600))
    async with device.leaf_running(), contextlib.AsyncExitStack() as stack:
        metrics = DeviceMetrics(device.client, device.id, wanted, tell=device.tell)
        metrics.start(tasks)
        stack.push_async_callback(tasks.close)
        await device.publish(3)
        await device.publish(3, kind=DATA)
        await until(lambda: all(each.waiting for each in metrics.forwarding().values()), "both wait for others")
        assert await numbers(hub_client) == []
        metrics.set_settings(replace(wanted, forward=ForwardSettings(seconds=0.1)))
        await until(lambda: sum(each.forwarded for each in metrics.forwarding().values()) == device.published, "all are sent")
    assert await numbers(hub_client) + await numbers(hub_client, kind=DATA) == list(range(device.published))


async def test_a_stream_that_is_made_anew_under_a_running_forwarder(hub: TrustHub, hub_client: Client, tmp_path: Path) -> None:
    device = ForwardingDevice(hub, tmp_path / "pi-1")
    async with device.leaf_running(), device.forwarding():
        await device.publish(9)
        await device.idle()
        config = (await device.js.stream_info(METRICS.local)).config
        await device.js.delete_stream(METRICS.local)
        await device.js.add_stream(config)
        await device.publish(4)
        await device.idle()
        await device.publish(30)
        await device.idle()
    assert await numbers(hub_client) == list(range(device.published))
