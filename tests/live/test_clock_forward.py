"""A clock 30 days behind, no link, 1,000 samples, a step: all of them at a real hub, once, with their true times (tests/support/wrongclock.py
says what is real)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import localsubjects
from edgeagent.chunk import points_of
from edgeagent.link import Client, connect
from edgeagent.patterns.clocksteps import ClockSteps
from edgeagent.patterns.forwarder import Forwarder
from edgeagent.publish import published
from edgeagent.runtime import Tasks
from edgeagent.subjects import agent_inbox
from tests.support.forwarding import METRICS, QUICK, ForwardingDevice, chunks
from tests.support.servers import until
from tests.support.trusthub import TrustHub
from tests.support.wrongclock import WrongClock

SUBJECT = localsubjects.local_metric("app")


class Nobody:
    """Knows no time: the system's clock has to be set right."""

    def now(self) -> float | None:
        return None

    def wanted(self) -> None:
        pass


class Device:
    """A forwarder and the follower of the clock, living by a clock that is wrong. synchronized: something keeps it right."""

    def __init__(self, there: ForwardingDevice, client: Client, clock: WrongClock) -> None:
        self.clock, self.client, self.synchronized = clock, client, False
        self.steps = ClockSteps(
            client, there.folder, "boot-1", Nobody(), synchronized=lambda: self.synchronized, clocks=clock.clocks
        )
        hint = there.folder / "hint.json"
        self.forwarder = Forwarder(client, there.id, METRICS, QUICK, hint=hint, tell=there.tell, clock=self.steps)
        self.true: list[float] = []

    async def store(self, count: int, *, own: bool) -> None:
        """Numbered samples, with a time of their own by this clock, or without."""
        for _ in range(count):
            told = {"time": self.clock.clocks()[1] / 1e9} if own else {}
            self.true.append(time.time())
            await published(self.client, SUBJECT, json.dumps({"n": len(self.true) - 1, **told}).encode())


@pytest_asyncio.fixture
async def device(tmp_path: Path) -> AsyncIterator[tuple[Device, ForwardingDevice]]:
    hub = TrustHub(tmp_path / "hub")  # not there yet
    clock = WrongClock(30)
    async with ForwardingDevice(hub, tmp_path / "pi-1").leaf_running() as there, clock.in_front_of(there.leaf.port) as url:
        client = await connect(
            url, what="be the agent", name="agent", inbox_prefix=agent_inbox(there.id), password=there.leaf.agent_login
        )
        yield Device(there, client, clock), there
        await client.close()


@pytest.mark.parametrize("own", [True, False], ids=["with times of their own", "without"])
async def test_all_are_at_the_hub_each_within_two_seconds(device: tuple[Device, ForwardingDevice], own: bool) -> None:
    here, there = device
    tasks = Tasks()
    await here.steps.look()
    here.forwarder.start(tasks)
    tasks.start("clock", here.steps.run())
    await here.store(1000, own=own)
    async with there.hub as hub:
        await until(lambda: here.forwarder.status().known, "the hub was asked")
        here.forwarder.link_came()
        here.steps.link_came()
        client = await hub.connect("HUB")
        assert await chunks(client) == [], "nothing of an unknown time is sent"
        here.clock.step()
        here.synchronized = True
        await here.store(10, own=own)

        async def done() -> bool:
            return sum([len(chunk.of) for _, chunk in await chunks(client)]) == len(here.true)

        await until(done, "all of them are there", 60)
        points = [point for _, chunk in await chunks(client) for point in points_of(chunk)]
        await tasks.close()
    assert sorted(int(point.sample.value) for point in points) == list(range(1010)), "each of them once"
    assert not any(point.estimated for point in points)
    assert max(abs(point.time_ms / 1000 - here.true[int(point.sample.value)]) for point in points) < 2.0
