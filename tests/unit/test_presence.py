"""Who is connected: what events and lists make of it, in every order in which they may come; and several who write it at once."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from nats.aio.client import Client

from edgeagent import direct, wire
from edgeagent.errors import Closed, Unreachable
from edgeagent.hub import leafs, presence
from edgeagent.hub.presence import Event, Leaf
from edgeagent.hub.presence_keeper import PresenceKeeper
from edgeagent.link import settle
from edgeagent.trust import jwt
from edgeagent.trust.nkeys import KeyPair
from tests.support.accounts import AccountsServer, running
from tests.support.servers import until

ACCOUNT = KeyPair.generate("account")


def at(second: float) -> str:
    return f"2025-11-21T12:00:{second:012.9f}Z"


def came(connection: str, second: float, device: str = "pi-01") -> Event:
    return Event(device=device, connection=connection, online=True, time=at(second), address="192.0.2.7")


def went(connection: str, second: float, reason: str = "Client Closed", device: str = "pi-01") -> Event:
    return Event(device=device, connection=connection, online=False, time=at(second), reason=reason)


def apply(events: list[Event] | tuple[Event, ...], now: wire.Presence | None = None) -> wire.Presence | None:
    for event in events:
        now = (presence.connected if event.online else presence.disconnected)(now, event) or now
    return now


def online(connection: str, second: float) -> wire.Presence:
    return wire.Presence(online=True, since=at(second), connection=connection, address="192.0.2.7")


def gone(connection: str, second: float, reason: str = "Client Closed") -> wire.Presence:
    return wire.Presence(online=False, since=at(second), connection=connection, reason=reason)


def state(now: wire.Presence | None) -> tuple[bool, str, str] | None:
    return (now.online, now.connection, now.since) if now else None


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([came("S:1", 1)], (True, "S:1", at(1))),
        ([came("S:1", 1), went("S:1", 2)], (False, "S:1", at(2))),
        ([came("S:1", 1), went("S:1", 2), came("S:2", 3)], (True, "S:2", at(3))),
        # The second connection before the first one's end: a link that broke silently and was dialled anew.
        ([came("S:1", 1), came("S:2", 2), went("S:1", 3)], (True, "S:2", at(2))),
        ([came("S:1", 1), came("T:1", 2), went("S:1", 3), went("T:1", 4)], (False, "T:1", at(4))),
        # An end before its beginning, also after another connection.
        ([went("S:1", 2), came("S:1", 1)], (False, "S:1", at(2))),
        ([came("S:1", 1), went("S:1", 2), went("S:2", 4), came("S:2", 3)], (False, "S:2", at(4))),
        # Events that were missed.
        ([went("S:1", 2)], (False, "S:1", at(2))),
        ([came("S:1", 1), came("S:3", 5)], (True, "S:3", at(5))),
        ([came("S:1", 1), went("S:1", 2), went("S:2", 4)], (False, "S:2", at(4))),
        # What is older than what is known, or known already, changes nothing.
        ([came("S:2", 5), came("S:1", 1)], (True, "S:2", at(5))),
        ([went("S:2", 5), went("S:1", 1)], (False, "S:2", at(5))),
        ([came("S:1", 1), went("S:1", 2), went("S:1", 3)], (False, "S:1", at(2))),
        ([came("S:1", 1), came("S:1", 1)], (True, "S:1", at(1))),
    ],
)
def test_events(events: list[Event], expected: tuple[bool, str, str]) -> None:
    assert state(apply(events)) == expected


def test_one_connections_two_events_come_to_the_same_in_either_order() -> None:
    before = gone("S:0", 0)
    for order in itertools.permutations([came("S:1", 1), went("S:1", 2)]):
        assert apply(order, before) == gone("S:1", 2)


def test_however_the_events_of_two_connections_are_shuffled_looking_puts_it_right() -> None:
    events = [came("S:1", 1), went("S:1", 3), came("S:2", 2)]
    for order in itertools.permutations(events):
        now = apply(order)
        assert now is not None
        looked = presence.reconciled({"pi-01": now}, [Leaf(connection="S:2", device="pi-01")], at(9))
        after = looked.get("pi-01", now)
        assert (after.online, after.connection) == (True, "S:2"), order


def test_the_true_reason_replaces_a_guess() -> None:
    assert apply([went("S:1", 2)], gone("S:1", 5, presence.UNKNOWN)) == gone("S:1", 2)


#: Written while the hub's clock was years ahead; and the events once it is right again.
YEARS_AHEAD = "2030-01-01T00:00:00.000000000Z"


@pytest.mark.parametrize("was_online", [True, False])
def test_what_a_wrong_clock_wrote_does_not_stand_until_its_time_comes(was_online: bool) -> None:
    wrong = wire.Presence(online=was_online, since=YEARS_AHEAD, connection="S:1", reason="" if was_online else "Client Closed")
    assert state(presence.connected(wrong, came("S:2", 3))) == (True, "S:2", at(3))
    listed = presence.reconciled({"pi-01": wrong}, [Leaf(connection="S:2", device="pi-01")], at(9))
    assert state(listed["pi-01"]) == (True, "S:2", at(9))
    assert ("pi-01" in presence.reconciled({"pi-01": wrong}, [], at(9))) is was_online
    if not was_online:
        assert state(presence.disconnected(wrong, went("S:2", 4))) == (False, "S:2", at(4))


@pytest.mark.parametrize(("since", "stands"), [("12:00:01", True), ("12:01:00", True), ("12:01:01", False), ("11:59:59", False)])
def test_events_of_several_servers_may_overtake_each_other_by_a_minute(since: str, stands: bool) -> None:
    kept = wire.Presence(online=True, since=f"2025-11-21T{since}Z", connection="S:2")
    assert (presence.connected(kept, came("S:1", 0)) is None) is stands


@pytest.mark.parametrize(
    ("now", "leafs", "changes"),
    [
        # Agreement.
        (online("S:1", 1), [Leaf(connection="S:1")], None),
        (online("S:1", 1), [Leaf(connection="S:1", device="pi-01")], None),
        (gone("S:1", 1), [], None),
        # A missed DISCONNECT, a missed CONNECT, both.
        (online("S:1", 1), [], (False, "S:1")),
        (gone("S:1", 1), [Leaf(connection="S:2", device="pi-01")], (True, "S:2")),
        (None, [Leaf(connection="S:2", device="pi-01")], (True, "S:2")),
        (online("S:1", 1), [Leaf(connection="S:2", device="pi-01")], (True, "S:2")),
        # Whose a new connection is cannot be told from a list without subscriptions: the device is gone as far as we know.
        (online("S:1", 1), [Leaf(connection="S:2")], (False, "S:1")),
        # Two connections at once: the one that is known stays.
        (online("S:1", 1), [Leaf(connection="S:1"), Leaf(connection="S:2", device="pi-01")], None),
        # Events newer than the lists.
        (online("S:3", 30), [], None),
        (gone("S:1", 30), [Leaf(connection="S:1", device="pi-01")], None),
        (online("S:3", 30), [Leaf(connection="S:2", device="pi-01")], None),
    ],
)
def test_reconciling(now: wire.Presence | None, leafs: list[Leaf], changes: tuple[bool, str] | None) -> None:
    kept = {"pi-01": now} if now else {}
    found = presence.reconciled(kept, leafs, at(20)).get("pi-01")
    assert (None if found is None else (found.online, found.connection)) == changes
    if found is not None:
        assert found.since == at(20)
        assert not presence.reconciled({"pi-01": found}, leafs, at(21)), "looking twice must change nothing more"


def event(device: str, *, kind: str = "Leafnode", server: str = "S", client: int = 1, **more: object) -> bytes:
    token = jwt.encode(ACCOUNT, subject=KeyPair.generate("user").public, name=device, nats={"type": "user"}, issued_at=1)
    return json.dumps(
        {
            "server": {"id": server},
            "timestamp": at(1),
            "client": {"id": client, "kind": kind, "jwt": token, "host": "192.0.2.7", "name": "somebody-else"},
            **more,
        }
    ).encode()


def test_an_event_is_read_by_the_jwt_and_not_by_the_name() -> None:
    found = presence.read_event("$SYS.ACCOUNT.A.CONNECT", event("pi-01"))
    assert found == Event(device="pi-01", connection="S:1", online=True, time=at(1), address="192.0.2.7")
    ended = presence.read_event("$SYS.ACCOUNT.A.DISCONNECT", event("pi-01", reason="Stale Connection"))
    assert ended is not None and (ended.online, ended.reason) == (False, "Stale Connection")


@pytest.mark.parametrize("data", [event("pi-01", kind="Client"), event("Not An Id"), b"{}", b'{"client":{"kind":"Leafnode"}}'])
def test_events_that_are_not_about_a_device(data: bytes) -> None:
    assert presence.read_event("$SYS.ACCOUNT.A.CONNECT", data) is None


def leafz(*leafs: dict[str, object]) -> bytes:
    return json.dumps({"server": {"id": "S"}, "data": {"leafs": list(leafs)}}).encode()


@pytest.mark.parametrize(
    ("subscriptions", "device"),
    [
        (["edge.to.fleet.all.query", "edge.to.device.pi-01.query"], "pi-01"),
        (["edge.to.device.pi-01.in.>", "edge.to.device.pi-01.>"], None),
        (["edge.to.device.*.query"], None),
        (["edge.to.device.pi-01.query.x"], None),
        (["edge.to.group.pi-01.query"], None),
        (None, None),
    ],
)
def test_a_listed_leaf_is_known_by_the_subscription_that_only_it_may_make(subscriptions: list[str] | None, device: str) -> None:
    server, leafs = presence.read_leafz(leafz({"id": 7, "ip": "192.0.2.7", "subscriptions_list": subscriptions}))
    assert (server, leafs) == ("S", [Leaf(connection="S:7", device=device, address="192.0.2.7")])


@pytest.mark.parametrize("data", [leafz(), b'{"server":{"id":"S"},"data":{}}', b'{"server":{"id":"S"},"data":{"leafs":null}}'])
def test_a_server_without_leafs(data: bytes) -> None:
    assert presence.read_leafz(data) == ("S", [])


# Twins: one device, several links, several names.


def leaf(connection: str, name: str, device: str | None = "pi-01") -> Leaf:
    return Leaf(connection=connection, device=device, name=name)


@pytest.mark.parametrize(
    ("found", "others"),
    [
        ([leaf("S:1", "a")], []),
        ([leaf("S:1", "a"), leaf("S:2", "b")], ["b"]),
        ([leaf("S:2", "b"), leaf("S:1", "a"), leaf("S:3", "c")], ["b", "c"]),
        # One name twice is a link whose end is not known yet; no name, or no device, is no twin.
        ([leaf("S:1", "a"), leaf("S:2", "a")], []),
        ([leaf("S:1", "a"), leaf("S:2", "")], []),
        ([leaf("S:1", "a"), leaf("S:2", "b", None), leaf("S:3", "b", "pi-02")], []),
    ],
)
def test_twins(found: list[Leaf], others: list[str]) -> None:
    assert presence.twins(found, {"pi-01": "S:1"}).get("pi-01", []) == others
    changes = presence.reconciled({"pi-01": online("S:1", 1)}, found, at(20))
    assert (changes["pi-01"].twins if "pi-01" in changes else []) == others


def test_twins_are_kept_by_events_and_cleared_by_looking() -> None:
    now = msgspec.structs.replace(online("S:1", 1), twins=["b"])
    for event in (came("S:2", 2), went("S:1", 2)):
        after = apply([event], now)
        assert after is not None and after.twins == ["b"]
    looked = presence.reconciled({"pi-01": now}, [leaf("S:1", "a")], at(20))
    assert looked["pi-01"].twins == [] and looked["pi-01"].since == now.since
    gone_too = presence.reconciled({"pi-01": now}, [], at(20))
    assert (gone_too["pi-01"].online, gone_too["pi-01"].twins) == (False, [])


def test_a_device_that_floods_names_stays_small() -> None:
    many = [leaf(f"S:{number}", f"name-{number:03}") for number in range(100)]
    assert len(presence.twins(many, {})["pi-01"]) == presence.MAX_TWINS
    _, (listed,) = presence.read_leafz(leafz({"id": 7, "name": "x" * 5000}))
    assert len(listed.name) == presence.MAX_NAME_CHARACTERS


def test_who_a_leaf_is_comes_from_its_event_and_never_from_one_that_claims_to_be_the_hub() -> None:
    subscriptions = ["edge.to.device.pi-01.query"]
    _, found = presence.read_leafz(
        leafz({"id": 7, "subscriptions_list": subscriptions}, {"id": 8, "is_spoke": True, "subscriptions_list": subscriptions})
    )
    assert [item.device for item in found] == ["pi-01", None]
    assert [item.device for item in presence.owned(found, {"S:7": "pi-07", "S:8": "pi-08"})] == ["pi-07", "pi-08"]


# From here on: the keeper, with a real server.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("presence")) as server:
        yield server


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leafs, "STALL_SECONDS", 0.05)


class Instance:
    """A keeper that runs, with its connections."""

    def __init__(self, keeper: PresenceKeeper, system: Client, hub: Client) -> None:
        self.keeper, self.system, self.hub = keeper, system, hub

    async def happens(self, message: Event) -> None:
        """The server says so to every keeper."""
        kind = "CONNECT" if message.online else "DISCONNECT"
        server, _, client = message.connection.partition(":")
        body = event(message.device, server=server, client=int(client), timestamp=message.time, reason=message.reason)
        await self.system.publish(f"$SYS.ACCOUNT.FLEET.{kind}", body)

    async def kept(self) -> dict[str, tuple[bool, str]]:
        found = {}
        async for item in direct.read_all(self.hub, "KV_edge_presence", "$KV.edge_presence.>", prefix="$JS.API"):
            value = wire.decode(item.data, wire.Presence)
            found[item.subject.split(".")[2]] = (value.online, value.connection)
        return found

    async def until_kept(self, wanted: dict[str, tuple[bool, str]]) -> None:
        async def there() -> bool:
            return await self.kept() == wanted

        await until(there, f"presence is {wanted}")


@asynccontextmanager
async def instance(server: AccountsServer) -> AsyncIterator[Instance]:
    system, hub = await server.connect("SYS"), await server.connect("HUB")
    keeper = PresenceKeeper(system, hub, "FLEET")
    task = asyncio.create_task(keeper.write_events())
    try:
        await keeper.start()
        await settle(system, what="settle")
        yield Instance(keeper, system, hub)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await system.close()
        await hub.close()


@pytest.fixture
async def empty(server: AccountsServer) -> AccountsServer:
    await server.make_stream("KV_edge_presence", "$KV.edge_presence.>")
    await server.make_stream("EDGE_REPORTS", "edge.from.*.report", "edge.from.*.heartbeat")
    return server


async def test_events_are_written(empty: AccountsServer) -> None:
    async with instance(empty) as hub:
        await hub.happens(came("S:1", 1))
        await hub.happens(came("S:2", 1, device="pi-02"))
        await hub.happens(went("S:1", 2))
        await hub.until_kept({"pi-01": (False, "S:1"), "pi-02": (True, "S:2")})


async def test_several_instances_come_to_the_same(empty: AccountsServer) -> None:
    async with instance(empty) as one, instance(empty) as two, instance(empty):
        for number in range(1, 10):  # fewer than are written of one device at once
            await one.happens(came(f"S:{number}", number))
            await two.happens(came(f"T:{number}", number + 0.1, device="pi-02"))
            await one.happens(went(f"S:{number}", number + 0.2))
        await one.until_kept({"pi-01": (False, "S:9"), "pi-02": (True, "T:9")})


async def test_one_that_comes_and_goes_all_the_time_is_written_and_logged_so_often_only(
    empty: AccountsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with instance(empty) as hub:
        for number in range(1, 200):
            await hub.happens(came(f"S:{number}", number / 10))
            await hub.happens(went(f"S:{number}", number / 10 + 0.05))
        await hub.happens(came("S:200", 20))
        await hub.happens(came("T:1", 1, device="pi-02"))  # another one is written, after all of these
        await until(lambda: "pi-02 is online" in caplog.text, "the others are heard")
    assert 1 <= caplog.text.count("pi-01 is ") <= 60
    assert hub.keeper._owners["S:200"] == "pi-01", "whose connection is whose is known all the same"


async def test_what_happened_while_nobody_listened_is_found_by_looking(empty: AccountsServer) -> None:
    async with instance(empty) as hub:
        await hub.happens(came("S:1", 1))
        await hub.until_kept({"pi-01": (True, "S:1")})
    async with instance(empty) as hub:  # no server lists S:1 any more
        assert await hub.kept() == {"pi-01": (False, "S:1")}


async def test_an_instance_that_fell_behind_reads_what_another_wrote(empty: AccountsServer) -> None:
    async with instance(empty) as ahead, instance(empty) as behind:
        # Written by the one while the other did not hear of it.
        await ahead.keeper._apply(came("S:1", 1))
        await behind.keeper._apply(went("S:1", 2))
        await behind.until_kept({"pi-01": (False, "S:1")})
        await ahead.keeper._apply(came("S:2", 3))
        await ahead.until_kept({"pi-01": (True, "S:2")})


async def test_no_answer_is_not_an_empty_list(empty: AccountsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leafs, "LIST_SECONDS", 0.2)
    async with instance(empty) as hub:
        await hub.happens(came("S:1", 1))
        await hub.until_kept({"pi-01": (True, "S:1")})
        deaf = PresenceKeeper(hub.hub, hub.hub, "FLEET")  # whoever is not in SYS gets no list
        await deaf._load()
        with pytest.raises(Unreachable, match="cannot list the leaf nodes: no server answered"):
            await deaf.reconcile()
        assert await hub.kept() == {"pi-01": (True, "S:1")}


async def test_a_connection_that_was_closed_is_an_error_of_ours(empty: AccountsServer) -> None:
    """Otherwise the keeper's loops would end with a traceback."""
    async with instance(empty) as hub:
        await hub.hub.close()
        with pytest.raises(Closed, match="the connection is closed"):
            await hub.keeper._load()
        await hub.system.close()
        with pytest.raises(Closed, match="cannot list the leaf nodes: the connection is closed"):
            await hub.keeper._listed()


async def test_a_store_that_was_lost_is_filled_again(empty: AccountsServer) -> None:
    async with instance(empty) as hub:
        await hub.happens(came("S:1", 1))
        await hub.until_kept({"pi-01": (True, "S:1")})
        await empty.make_stream("KV_edge_presence", "$KV.edge_presence.>")
        await hub.happens(went("S:1", 2))
        await hub.until_kept({"pi-01": (False, "S:1")})


async def test_a_beginning_older_than_what_is_known_makes_it_look(empty: AccountsServer) -> None:
    async with instance(empty) as hub:
        await hub.keeper._apply(went("S:1", 5))
        assert not hub.keeper._look.is_set()
        await hub.keeper._apply(came("S:2", 3))
        assert hub.keeper._look.is_set()
        assert await hub.kept() == {"pi-01": (False, "S:1")}


def test_a_device_that_looks_whether_another_address_leads_here_is_no_twin_of_itself() -> None:
    leafs = [Leaf(connection="S:1", device="pi-01", name="pi-01-x"), Leaf(connection="S:2", device="pi-01", name="pi-01-x-visit")]
    assert presence.twins(leafs, {"pi-01": "S:1"}) == presence.twins(leafs, {"pi-01": "S:2"}) == {}
