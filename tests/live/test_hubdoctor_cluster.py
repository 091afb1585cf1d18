"""What is said of a hub of three servers while they die, one after the other; and that somebody hears it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgeagent.assembly import doctorservers
from edgeagent.assembly.findings import Finding
from edgeagent.hub.alarmwatch import AlarmWatch
from edgeagent.hub.cluster import Cluster
from edgeagent.hub.ownevents import OwnEvents
from edgeagent.machine import Machine
from tests.support.lagging import LaggingCluster
from tests.support.servers import until

CLUSTER = Cluster(number=1, routes=["a:1", "b:1", "c:1"])


async def test_servers_that_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctorservers, "LIST_SECONDS", 1.0)
    async with LaggingCluster(tmp_path) as cluster:
        system, hub = await cluster.near.connect("SYS"), await cluster.near.connect("HUB")
        watch = AlarmWatch(system, hub, OwnEvents(hub))
        await watch.start()

        async def said() -> dict[str, Finding]:
            """The worst of each check."""
            found = (await doctorservers.look(system, hub, CLUSTER, Machine()))[1]
            order = ("good", "warn", "wrong")
            return {each.check: each for each in sorted(found, key=lambda each: order.index(each.level))}

        async def is_whole() -> bool:
            found = await said()
            return found["servers"].good and found["streams"].good

        await until(is_whole, "all is well")
        assert "hub-0, hub-1, hub-2" in (await said())["servers"].text
        first, second = cluster.others
        first.kill()

        async def copies_are_behind() -> bool:
            found = await said()
            assert found["servers"].level == "warn" and "2 of 3 are there" in found["servers"].text
            return found["streams"].level == "warn"

        await until(copies_are_behind, "it works, with less")
        second.kill()
        found = await said()
        assert found["servers"].level == found["streams"].level == "wrong"
        assert found["servers"].remedy and found["streams"].remedy
        await until(lambda: watch.tally.totals["hub.jetstream.quorum_lost"] > 0, "nats-server says it, and somebody listens")
        (due,) = [due for due in watch.tally.due(asyncio.get_running_loop().time() + 60) if "quorum_lost" in due.alarm.kind]
        assert due.severity == "error" and "too few servers" in due.text
