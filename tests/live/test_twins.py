"""Copied cards and tampered leafs: how the hub notices them, and what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from edgeagent import subjects, wire
from edgeagent.direct import get_last
from edgeagent.fleet import Fleet
from tests.support.administering import events, let_in, record, registered
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet, cli
from tests.support.rogue import Rogue
from tests.support.servers import until


@pytest.fixture(scope="module")
def own_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("twins"), 0) as fleet:
        yield fleet


@pytest.fixture
def hub(own_fleet: LiveFleet) -> Iterator[LiveFleet]:
    """A hub that runs for all tests here; each registers devices under names of its own, and none of them runs."""
    with own_fleet.borrowed() as fleet:
        yield fleet


async def test_a_cloned_card_is_told_once_and_forgotten_when_it_ends(hub: LiveFleet) -> None:
    login, port = await registered(hub, "twin-1"), hub.hub.options().leaf_port
    async with Fleet() as fleet:

        async def twins() -> list[str]:
            found = await get_last(fleet.client, "KV_edge_presence", subjects.kv("edge_presence", "twin-1"))
            return wire.decode(found.data, wire.Presence).twins if found else []

        async def are(wanted: bool) -> bool:
            return bool(await twins()) is wanted

        async with await Rogue.connect(port, login, name="twin-1-aaaa"):
            async with await Rogue.connect(port, login, name="twin-1-bbbb"):
                await until(lambda: are(True), "the hub knows of the twin")
                assert await twins() in (["twin-1-aaaa"], ["twin-1-bbbb"])
                assert "also connected as twin-1-" in cli("device", "show", "twin-1").out
                assert "connected several times" in cli("device", "ls").err
                # A third one is no news.
                async with await Rogue.connect(port, login, name="twin-1-cccc"):

                    async def two() -> bool:
                        return len(await twins()) == 2

                    await until(two, "the hub knows of the third")
            await until(lambda: are(False), "the hub knows that it ended")
    assert (await events("twin-1")).count("device.twins") == 1


async def test_copies_of_one_name_that_take_the_link_from_each_other_are_told(hub: LiveFleet) -> None:
    """Boards without a serial number keep the name that was copied with the card."""
    login, port = await registered(hub, "copied-1"), hub.hub.options().leaf_port
    for _ in range(3):
        first, second = [await Rogue.connect(port, login, name="copied-1-aaaa", account="EDGE") for _ in range(2)]
        await asyncio.wait_for(first.closed.wait(), PATIENCE_SECONDS)
        await second.close()

    async def told() -> bool:
        return "device.twins" in await events("copied-1")

    await until(told, "it is told")
    assert "another leaf takes the link of copied-1 away" in cli("hub", "doctor", "--dir", str(hub.hub.path)).out


async def test_a_device_with_a_tampered_leaf_is_revoked(hub: LiveFleet) -> None:
    login, other = await registered(hub, "tampered-1"), await registered(hub, "victim-1")
    async with await Rogue.connect(hub.hub.options().leaf_port, login, is_hub=True) as rogue:
        rogue.subscribe(subjects.query(subjects.Scope.device("victim-1")))  # to be taken for another
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)

    async def known() -> bool:
        return "device.tampered" in await events("tampered-1")

    await until(known, "it is told")
    found = await record(hub, "tampered-1")
    assert found.revoked and found.reason == "its leaf claimed to be the hub"
    told = cli("hub", "doctor", "--dir", str(hub.hub.path))
    assert "tampered-1 was kept out by the hub itself" in told.out
    assert not await let_in(hub, login)
    assert not (await record(hub, "victim-1")).revoked and await let_in(hub, other)
