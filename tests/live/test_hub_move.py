"""A device that is sent to another hub and back by signed configuration, and to places that are none. Hubs, leafs and agents are real."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.fleet import Fleet
from edgeagent.leaf import hubkept
from edgeagent.leaf.hubkept import Kept
from edgeagent.subjects import FLEET_ALL
from tests.support.configured import DEVICE, ID, Configured, Rig, configured, rigged
from tests.support.servers import PlainHub, until
from tests.support.twohubs import OtherHub, other_hub


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    with configured(tmp_path_factory.mktemp("device"), "berlin") as pi:
        yield pi


@pytest_asyncio.fixture
async def rig(running: Configured) -> AsyncIterator[Rig]:
    async with rigged(running) as made:
        yield made


def home(pi: Configured) -> str:
    return pi.device.enrolment.urls[0]


def kept(pi: Configured) -> Kept:
    return hubkept.load(pi.device.state, [home(pi)])


async def test_there_and_back(rig: Rig, tmp_path: Path) -> None:
    pi = rig.pi
    status = pi.device.status()
    assert status
    leaf = status.leaf.pid
    async with pi.leaf() as program, other_hub(pi.fleet, tmp_path / "other") as other:
        await rig.put({"hub.urls": [other.leaf_url]})
        async with Fleet(url=other.client_url, credentials=pi.fleet.credentials) as there:
            await pi.reports(there.client, lambda state: "hub.urls" in state.values, "it reports at the other hub")
            assert [event.data for event in await moved(pi, there)] == [{"hub": other.leaf_url}]
            assert kept(pi) == Kept(good=other.leaf_url, before=home(pi))
            await Rig(pi, there).put({"hub.urls": [home(pi)]})
            await until(lambda: kept(pi) == Kept(good=home(pi), before=other.leaf_url), "it is back")
        assert program.stats["reconnects"] == 0
    status = pi.device.status()
    assert status and status.leaf.pid == leaf and status.leaf.restarts == 0


async def moved(pi: Configured, fleet: Fleet) -> list:
    found = []

    async def there() -> bool:
        found[:] = await pi.events(fleet.client, "hub.moved")
        return bool(found)

    await until(there, "it says that it moved")
    return found
