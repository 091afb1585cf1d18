"""What configuration costs the hub: no consumer and no mirror however many devices follow it, and next to nothing when bells are forged."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from edgeagent import subjects
from edgeagent.direct import Stored
from edgeagent.documents import LAG_TRIES, Follower
from edgeagent.fleet import Fleet
from edgeagent.fleet.config import STREAM
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.streams import STREAMS
from edgeagent.interpreter import argv
from edgeagent.link import Client, connect, request, settle
from edgeagent.patterns.config import sources
from edgeagent.runtime import Tasks
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import creds
from edgeagent.trust.signed import peek
from tests.support.administering import inside
from tests.support.bareleafs import BareLeafs
from tests.support.configuring import Writer, state_of
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet
from tests.support.rogue import Rogue
from tests.support.servers import until

DEVICES, FLOOD = 50, 10_000
BELL = subjects.config_doorbell(FLEET_ALL)
#: What whoever reads the fleet's document asks, as a device says it and as it arrives in the account HUB.
READ = subjects.direct_get(STREAM, subjects.document(FLEET_ALL))
READ_AT_THE_HUB = subjects.direct_get(STREAM, subjects.document(FLEET_ALL), "$JS.API")
#: Where the hub's own services have their answers sent.
OF_THE_HUB = "_INBOX.hub."


def as_shipped(settings: Path) -> list[str]:
    """An agent with the pauses that it ships with: they are what is proved here."""
    return argv("edgeagent.assembly.agent", str(settings))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("scale"), 1, agent=as_shipped) as fleet:
        yield fleet


@pytest.fixture
def hub(running: LiveFleet) -> Iterator[LiveFleet]:
    """A hub with one real agent, pi-01."""
    with running.borrowed() as fleet:
        yield fleet


# ---- fifty devices -----------------------------------------------------------------------------------------------------------


class Followers:
    """Devices with a real leaf each, and in place of an agent the part of it that follows configuration.

    seen: (device, scope) -> the newest generation.
    """

    def __init__(self, leafs: BareLeafs, tasks: Tasks) -> None:
        self._leafs, self._tasks = leafs, tasks
        self.seen: dict[tuple[str, str], int] = {}

    async def add(self, device: str, *groups: str) -> None:
        async def changed(scope: str, stored: Stored | None) -> None:
            self.seen[device, scope] = peek(stored.data).number if stored else 0

        follower = Follower(await self._leafs.add(device, *groups), changed)
        await follower.set_sources(sources(device, groups))
        self._tasks.start(device, follower.run())


@pytest.fixture
async def followers(hub: LiveFleet, tmp_path: Path) -> AsyncIterator[Followers]:
    async with BareLeafs(hub.hub, tmp_path) as leafs:
        tasks = Tasks()
        yield Followers(leafs, tasks)
        await tasks.close()


async def consumers(hub: LiveFleet) -> int:
    """All that the hub's server has, those that it made for itself (streams that copy others) as well."""
    login = creds.callbacks(Keyring.load(hub.hub.path).service_credentials("sys"))
    client = await connect(hub.url, what="reach the hub", name="test", inbox_prefix="_INBOX.test", jwt=login, reconnect=False)
    try:
        wanted = json.dumps({"accounts": True, "streams": True, "consumer": True, "direct_consumer": True}).encode()
        found = json.loads((await request(client, "$SYS.REQ.SERVER.PING.JSZ", wanted, what="count consumers")).data)["data"]
    finally:
        await client.close()
    details = [stream for account in found["account_details"] for stream in account["stream_detail"]]
    assert {stream["name"] for stream in details} == {stream.name for stream in STREAMS}
    return sum(len(stream.get("consumer_detail") or []) + len(stream.get("direct_consumer_detail") or []) for stream in details)


async def test_fifty_devices_leave_no_consumer_and_no_mirror_on_the_hub(hub: LiveFleet, followers: Followers) -> None:
    places = {f"dev-{number:02}": ("berlin", "munich")[number % 2] for number in range(DEVICES)}
    before = await consumers(hub)
    await asyncio.gather(*(followers.add(device, group) for device, group in places.items()))
    wanted: dict[tuple[str, str], int] = {}
    async with Fleet() as fleet:
        for number in range(2):
            for scope in (FLEET_ALL, Scope.group("berlin"), Scope.group("munich"), *(Scope.device(device) for device in places)):
                made = await fleet.config.set(scope, {"app.scale.number": number}, force=True)
                wanted.update(
                    {
                        (device, str(scope)): made.generation
                        for device, group in places.items()
                        if scope.name in ("all", group, device)
                    }
                )
            await until(lambda: followers.seen == wanted, "all of them have seen the newest of each scope", PATIENCE_SECONDS)
    assert len(wanted) == 3 * DEVICES
    async with inside(hub) as inner:
        infos = await inner.jetstream().streams_info()
    assert {info.config.name for info in infos} == {stream.name for stream in STREAMS}
    assert sum(info.state.consumer_count for info in infos) == 0
    assert [info.config.name for info in infos if info.config.mirror or info.config.sources] == ["EDGE_AUDIT"]
    assert await consumers(hub) == before


# ---- forged bells ------------------------------------------------------------------------------------------------------------


class Reads:
    """Counts how often others than the hub itself (for ``/metrics``) read the fleet's document, where it is: at the hub."""

    def __init__(self, inner: Client) -> None:
        self._inner, self.replies = inner, list[str]()

    @property
    def count(self) -> int:
        return len(self.replies)

    async def start(self) -> None:
        await self._inner.subscribe(READ_AT_THE_HUB, cb=self._asked)
        await settle(self._inner, what="count reads")

    async def _asked(self, message: Any) -> None:
        if not message.reply.startswith(OF_THE_HUB):
            self.replies.append(message.reply)


@pytest.fixture
async def inner(hub: LiveFleet) -> AsyncIterator[Client]:
    async with inside(hub) as client:
        yield client


async def follow_another() -> None:
    """Put a document of the fleet, and wait until pi-01 follows it."""
    async with Fleet() as fleet:
        generation = await Writer.of(fleet).put(FLEET_ALL, {"app": {"bells": {"at": time.time()}}})  # it reads nothing before

        async def follows() -> bool:
            said = (await state_of(fleet.client, "pi-01")).scopes.get(str(FLEET_ALL))
            return said is not None and said.applied == generation

        await until(follows, "pi-01 follows it")


@pytest.fixture
async def reads(hub: LiveFleet, inner: Client) -> Reads:
    """From a moment on at which pi-01 has the newest document."""
    await follow_another()
    found = Reads(inner)
    await found.start()
    return found


async def _for_seconds(number: int) -> None:
    """A flood that lasts some seconds: within one, a device reads once however often it is rung."""
    if number % 250 == 0:
        await asyncio.sleep(0.1)


def marks(sequence: int) -> dict[str, str]:
    """What the hub adds to a true bell."""
    return {
        "Nats-Stream": STREAM,
        "Nats-Subject": subjects.document(FLEET_ALL),
        "Nats-Sequence": str(sequence),
        "Nats-Time-Stamp": "2026-11-21T05:04:25Z",
    }


async def test_another_device_that_rings_ten_thousand_times_costs_one_read_a_second_at_most(hub: LiveFleet, reads: Reads) -> None:
    """By having the answers to its own reads sent to everybody's bell, true ones and of what it stored itself, and by plain messages."""
    keyring, port = Keyring.load(hub.hub.path), hub.hub.options().leaf_port
    own, begun = "edge.from.pi-66.data", time.monotonic()
    async with (
        await Rogue.connect(port, keyring.device_credentials("pi-66")) as attacker,
        await Rogue.connect(port, keyring.device_credentials("pi-67")) as other,
    ):
        other.subscribe(BELL)
        assert await other.settle()
        assert await attacker.request(own, b"x", headers=marks(10**9))
        for number in range(FLOOD):
            attacker.publish(READ, reply=BELL)
            if number % 10 == 0:
                attacker.publish(subjects.direct_get("EDGE_DATA", own), reply=BELL)
            await _for_seconds(number)
        assert await attacker.settle()
        await until(lambda: len(other.messages) == FLOOD + FLOOD // 10, "the bells were heard by every device", PATIENCE_SECONDS)
        await until(lambda: reads.count >= FLOOD, "the attacker's own reads are counted")
        attacker.publish(BELL, headers=marks(10**9))
        assert not await attacker.settle(), "a plain message ends its link"
    await follow_another()  # a barrier: who follows this has heard all that rang before
    assert reads.count - FLOOD <= time.monotonic() - begun + 1


async def test_a_local_program_cannot_ring(hub: LiveFleet, reads: Reads) -> None:
    refused: list[str] = []

    async def complained(error: Exception) -> None:
        refused.append(str(error).lower())

    program = await nats.connect(hub.leaf_url("pi-01"), error_cb=complained, allow_reconnect=False)
    try:
        for number in range(FLOOD):
            await program.publish(BELL, headers=marks(10**9 + number))
            await program.publish(READ, reply=BELL)
            await _for_seconds(number)
        await until(lambda: len(refused) == 2 * FLOOD, "each of them was refused", PATIENCE_SECONDS)
    finally:
        await program.close()
    assert all("permissions violation" in text for text in refused)
    await follow_another()
    # A link that comes back makes two reads more. A single forged number that was heard would make 1 + LAG_TRIES, as below.
    assert 1 <= reads.count <= 3 < 1 + LAG_TRIES, (
        f"only for what changed, and for none of those that it was refused: {reads.replies}"
    )


async def test_even_the_hub_itself_makes_a_device_look_once_a_second_at_most(hub: LiveFleet, inner: Client, reads: Reads) -> None:
    """Nobody else can ring with numbers of its own. A number that is not there costs the few reads that a cluster's lag is worth."""
    begun, sent = time.monotonic(), 0
    while sent < FLOOD or reads.count < 3 * (1 + LAG_TRIES):
        await inner.publish(BELL, headers=marks(10**9 + sent))
        sent += 1
        await _for_seconds(sent)
    looks = reads.count / (1 + LAG_TRIES)
    assert looks <= time.monotonic() - begun + 1
