"""Following what the hub keeps, over a real server: at each link-up, when it rings, from time to time; never more than it must."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats.errors
import pytest
import pytest_asyncio

from edgeagent import documents
from edgeagent.direct import Stored
from edgeagent.documents import LAG_LOOKS, LAG_TRIES, Follower, Source
from edgeagent.errors import Failed, Unreachable
from edgeagent.link import Client, settle
from edgeagent.runtime import Tasks
from tests.support.accounts import AccountsServer, running
from tests.support.servers import until

STREAM = "KV_edge_config"


def source(key: str) -> Source:
    return Source(key, STREAM, f"$KV.edge_config.{key}", f"edge.to.{key}.config")


ALL, BERLIN = source("fleet.all"), source("group.berlin")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("documents")) as server:
        yield server


class Seen:
    """What a follower said, and how often the hub was asked."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, bytes | None]] = []
        self.reads = 0
        self.fail = False
        #: So many more answers of the hub do not come.
        self.lost = 0

    async def changed(self, key: str, stored: Stored | None) -> None:
        if self.fail:
            raise Failed("apply it", "a test wants it so")
        self.changes.append((key, stored.data if stored else None))


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest_asyncio.fixture
async def hub(server: AccountsServer) -> AsyncIterator[Client]:
    await server.make_stream(STREAM, "$KV.edge_config.*.*")
    client = await server.connect("HUB")
    yield client
    await client.close()


@pytest_asyncio.fixture
async def device(server: AccountsServer, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    client = await server.connect("FLEET")
    ask = client.request

    async def counted(subject: str, *args: Any, **options: Any) -> Any:
        seen.reads += 1
        if seen.lost:
            seen.lost -= 1
            raise nats.errors.NoRespondersError
        return await ask(subject, *args, **options)

    monkeypatch.setattr(client, "request", counted)
    yield client
    await client.close()


@pytest_asyncio.fixture
async def follower(device: Client, seen: Seen) -> AsyncIterator[Follower]:
    made = Follower(device, seen.changed)
    tasks = Tasks()
    tasks.start("follow", made.run())
    yield made
    await tasks.close()
    await made.close()


async def put(hub: Client, key: str, data: bytes, **headers: str) -> int:
    return (await hub.jetstream().publish(f"$KV.edge_config.{key}", data, headers=headers or None)).seq


def marks(key: str, sequence: int | str) -> dict[str, str]:
    """What the hub adds to a doorbell."""
    return {
        "Nats-Stream": STREAM,
        "Nats-Subject": f"$KV.edge_config.{key}",
        "Nats-Sequence": str(sequence),
        "Nats-Time-Stamp": "2026-11-21T05:04:25.876340715Z",
    }


async def ring(device: Client, key: str, sequence: int | str = 10**6) -> None:
    await device.publish(f"edge.to.{key}.config", headers=marks(key, sequence))
    await settle(device, what="ring")


async def test_the_newest_is_read_at_the_start(hub: Client, follower: Follower, seen: Seen) -> None:
    await put(hub, "fleet.all", b"1")
    await put(hub, "fleet.all", b"2")
    await follower.set_sources([ALL, BERLIN])
    await until(lambda: len(seen.changes) == 2, "both were read")
    assert sorted(seen.changes) == [("fleet.all", b"2"), ("group.berlin", None)]


async def test_a_ring_is_followed_by_a_look_and_not_believed(hub: Client, follower: Follower, device: Client, seen: Seen) -> None:
    await follower.set_sources([ALL])
    await until(lambda: seen.changes == [("fleet.all", None)], "there is none yet")
    sequence = await put(hub, "fleet.all", b"news")
    await device.publish("edge.to.fleet.all.config", b"forged payload", headers=marks("fleet.all", sequence))
    await until(lambda: seen.changes[-1] == ("fleet.all", b"news"), "it was read")


async def test_a_thousand_rings_cause_two_looks_at_most_in_a_second(
    hub: Client, follower: Follower, device: Client, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "SPACING_SECONDS", 3600.0)
    sequence = await put(hub, "fleet.all", b"1")
    await follower.set_sources([ALL])
    await until(lambda: len(seen.changes) == 1, "it was read")
    for _ in range(1000):
        await device.publish("edge.to.fleet.all.config", headers=marks("fleet.all", sequence))
    await settle(device, what="ring")
    await until(lambda: seen.reads == 2, "the first ring is answered")
    await ring(device, "fleet.all")
    assert seen.reads == 2


@pytest.mark.parametrize("there", [True, False], ids=["an older one", "nothing"])
async def test_a_forged_number_costs_a_few_reads_only(
    hub: Client, follower: Follower, device: Client, seen: Seen, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(documents, "SPACING_SECONDS", 0.05)
    if there:
        await put(hub, "fleet.all", b"1")
    await follower.set_sources([ALL, BERLIN])
    await until(lambda: len(seen.changes) == 2, "both were read")
    before = list(seen.changes)
    await ring(device, "fleet.all", 10**12)
    await until(lambda: seen.reads == 2 + (1 + LAG_LOOKS) * (1 + LAG_TRIES), "it looked again and again")
    assert seen.changes == before
    await ring(device, "group.berlin", await put(hub, "group.berlin", b"2"))
    await until(lambda: seen.changes[-1] == ("group.berlin", b"2"), "another is followed")
    assert seen.reads == 3 + (1 + LAG_LOOKS) * (1 + LAG_TRIES), "it asks no more for what was never there"


@pytest.mark.parametrize("lost", [0, 1], ids=["all-answers-come", "the-first-is-lost"])
async def test_what_rang_is_asked_for_until_the_server_that_answers_has_it(
    hub: Client, follower: Follower, device: Client, seen: Seen, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """As if that server got it later than the one that rang."""
    monkeypatch.setattr(documents, "SPACING_SECONDS", 0.05)
    monkeypatch.setattr(documents, "LAG_LOOKS", 10**6)
    sequence = await put(hub, "fleet.all", b"1")
    await follower.set_sources([ALL])
    await until(lambda: len(seen.changes) == 1, "it was read")
    seen.lost = lost
    await ring(device, "fleet.all", sequence + 1)
    await until(lambda: seen.reads >= 3 + lost + LAG_TRIES, "it looks in vain, again")
    assert await put(hub, "fleet.all", b"2") == sequence + 1
    await until(lambda: seen.changes[-1] == ("fleet.all", b"2"), "it was read without another ring")


async def test_some_time_after_a_link_up_there_is_a_second_look(
    hub: Client, follower: Follower, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "SECOND_LOOK_SECONDS", 0.2)
    await follower.set_sources([ALL])
    await until(lambda: seen.changes == [("fleet.all", None)], "there is none yet")
    follower.link_came()
    await until(lambda: len(seen.changes) == 2, "it was read at the link-up")
    await until(lambda: seen.reads == 3, "it was read again")


@pytest.mark.parametrize(
    "headers",
    [
        None,
        marks("fleet.all", "rubbish"),
        {**marks("fleet.all", 10**6), "Nats-Stream": "EDGE_REPORTS"},
        {**marks("fleet.all", 10**6), "Nats-Subject": "edge.from.pi-9.report"},
    ],
)
async def test_a_ring_that_the_stream_did_not_make_costs_nothing(
    hub: Client, follower: Follower, device: Client, seen: Seen, headers: dict[str, str] | None
) -> None:
    await put(hub, "fleet.all", b"1")
    await put(hub, "group.berlin", b"1")
    await follower.set_sources([ALL, BERLIN])
    await until(lambda: len(seen.changes) == 2, "both were read")
    await device.publish("edge.to.fleet.all.config", headers=headers)
    await ring(device, "group.berlin", 1)
    await until(lambda: seen.reads >= 3, "the true ring was followed")
    assert seen.reads == 3


async def test_the_same_message_is_told_again_only_after_a_link_up(
    hub: Client, follower: Follower, device: Client, seen: Seen
) -> None:
    await put(hub, "fleet.all", b"1")
    await follower.set_sources([ALL])
    await until(lambda: len(seen.changes) == 1, "it was read")
    await ring(device, "fleet.all")
    await until(lambda: seen.reads >= 2 + LAG_TRIES, "it looked")
    assert len(seen.changes) == 1
    follower.link_came()
    await until(lambda: len(seen.changes) == 2, "it was told again")


async def test_a_deletion_is_a_change(hub: Client, follower: Follower, device: Client, seen: Seen) -> None:
    await put(hub, "fleet.all", b"1")
    await follower.set_sources([ALL])
    await until(lambda: len(seen.changes) == 1, "it was read")
    sequence = await put(hub, "fleet.all", b"", **{"KV-Operation": "DEL"})
    await ring(device, "fleet.all", sequence)
    await until(lambda: seen.changes[-1] == ("fleet.all", None), "it is gone")


async def test_a_stream_that_was_made_anew_is_read_anew(
    server: AccountsServer, hub: Client, follower: Follower, device: Client, seen: Seen
) -> None:
    sequence = await put(hub, "fleet.all", b"1")
    await follower.set_sources([ALL])
    await until(lambda: len(seen.changes) == 1, "it was read")
    await server.make_stream(STREAM, "$KV.edge_config.*.*")
    assert await put(hub, "fleet.all", b"2") == sequence, "the new stream counts from the start"
    await ring(device, "fleet.all", sequence)
    await until(lambda: seen.changes[-1] == ("fleet.all", b"2"), "it was read")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Nats-Subject": "x", "Nats-Sequence": "1"},
        {"Nats-Subject": "x", "Nats-Sequence": "1", "Nats-Time-Stamp": "yesterday"},
        {"Nats-Subject": "x", "Nats-Sequence": "one", "Nats-Time-Stamp": "2026-11-21T05:04:25Z"},
        {"Nats-Sequence": "1", "Nats-Time-Stamp": "2026-11-21T05:04:25Z"},
        {"Nats-Subject": "x", "Nats-Sequence": "9223372036854775808", "Nats-Time-Stamp": "2026-11-21T05:04:25Z"},
        {"Nats-Subject": "x", "Nats-Sequence": "-1", "Nats-Time-Stamp": "2026-11-21T05:04:25Z"},
    ],
    ids=range(7),
)
async def test_whoever_answers_nonsense_in_the_hubs_place_does_not_end_it(
    hub: Client, follower: Follower, seen: Seen, headers: dict[str, str]
) -> None:
    source = Source("x", "NONSENSE", "no.such.subject", "edge.to.x.x.config")

    async def nonsense(message: Any) -> None:
        await hub.publish(message.reply, b"x", headers=headers)

    answering = await hub.subscribe("$JS.API.DIRECT.GET.NONSENSE.no.such.subject", cb=nonsense)
    await settle(hub, what="listen")
    await follower.set_sources([source])
    await until(lambda: seen.reads >= 2, "it asks again")
    await answering.unsubscribe()
    await put(hub, "fleet.all", b"1")
    await follower.set_sources([ALL])
    await until(lambda: seen.changes == [("fleet.all", b"1")], "it goes on")


async def test_what_could_not_be_applied_is_offered_again(hub: Client, follower: Follower, device: Client, seen: Seen) -> None:
    await put(hub, "fleet.all", b"1")
    seen.fail = True
    await follower.set_sources([ALL])
    await until(lambda: seen.reads == 1, "it was read")
    seen.fail = False
    await ring(device, "fleet.all")
    await until(lambda: seen.changes == [("fleet.all", b"1")], "it was offered again")


async def test_without_a_hub_it_tries_again_until_there_is_one(
    server: AccountsServer, follower: Follower, seen: Seen, hub: Client
) -> None:
    missing = Source("x", "NO_SUCH_STREAM", "no.such.subject", "edge.to.x.x.config")
    await follower.set_sources([missing])
    await until(lambda: seen.reads >= 2, "it tries again")
    assert seen.changes == []
    await server.make_stream("NO_SUCH_STREAM", "no.such.subject")
    await until(lambda: seen.changes == [("x", None)], "it was answered")


async def test_sources_that_go_are_heard_no_more(hub: Client, follower: Follower, device: Client, seen: Seen) -> None:
    await follower.set_sources([ALL, BERLIN])
    await until(lambda: len(seen.changes) == 2, "both were read")
    await follower.set_sources([ALL])
    await put(hub, "group.berlin", b"1")
    await ring(device, "group.berlin")
    await put(hub, "fleet.all", b"1")
    await ring(device, "fleet.all")
    await until(lambda: seen.changes[-1] == ("fleet.all", b"1"), "the other one is followed")
    assert len(seen.changes) == 3


async def test_nothing_is_left_on_the_hub(hub: Client, follower: Follower, seen: Seen) -> None:
    await follower.set_sources([ALL, BERLIN])
    await until(lambda: len(seen.changes) == 2, "both were read")
    info = await hub.jetstream().stream_info(STREAM)
    assert info.state.consumer_count == 0


async def test_of_a_log_the_newest_entry_is_read_whichever_rings(
    hub: Client, follower: Follower, device: Client, seen: Seen
) -> None:
    await put(hub, "log.1", b"1")
    await follower.set_sources([Source("log", STREAM, "$KV.edge_config.log.*", "edge.to.log.config")])
    await until(lambda: seen.changes == [("log", b"1")], "the first one was read")
    for entry, subject in ((b"2", "$KV.edge_config.log.2"), (b"3", "$KV.edge_config.log.30")):
        sequence = await put(hub, subject.removeprefix("$KV.edge_config."), entry)
        mark = {**marks("log", sequence), "Nats-Subject": subject}
        await device.publish("edge.to.log.config", headers=mark)
        await until(lambda entry=entry: seen.changes[-1] == ("log", entry), "the next one was read")  # type: ignore[misc]
    reads = seen.reads
    for subject in ("$KV.edge_config.log", "$KV.edge_config.log.", "$KV.edge_config.logs.2"):
        await device.publish(
            "edge.to.log.config", headers={"Nats-Stream": STREAM, "Nats-Subject": subject, "Nats-Sequence": "99"}
        )
    await settle(device, what="ring")
    assert seen.reads == reads


async def test_who_cannot_reach_the_hub_while_it_acts_is_offered_it_again(hub: Client, device: Client) -> None:
    offered: list[str] = []

    async def changed(key: str, stored: Stored | None) -> None:
        offered.append(key)
        if len(offered) == 1:
            raise Unreachable("act on it", "a test wants it so")

    follower, tasks = Follower(device, changed), Tasks()
    tasks.start("follow", follower.run())
    await follower.set_sources([ALL])
    await until(lambda: len(offered) == 2, "it was offered again")
    await tasks.close()
    await follower.close()
