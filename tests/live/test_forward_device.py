"""A store that changes under a forwarder that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from edgeagent.link import Client
from tests.support.forwarding import METRICS, ForwardingDevice, numbers
from tests.support.trusthub import TrustHub


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        yield hub


@pytest_asyncio.fixture
async def hub_client(hub: TrustHub) -> Client:
    return await hub.connect("HUB")


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
