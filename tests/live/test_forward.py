"""The forwarder over a real leaf and a real hub: everything once, in order, through what usually goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.link import Client
from tests.support.forwarding import DATA, METRICS, ForwardingDevice, numbers
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
