"""A device's events reach the hub's stream: in order, again until acknowledged, and no more than fit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from nats.js.api import StreamConfig

from edgeagent import wire
from edgeagent.direct import read_all
from edgeagent.link import Client
from edgeagent.patterns import events
from edgeagent.patterns.events import Events
from tests.support.accounts import AccountsServer, running
from tests.support.servers import until

STREAM = "EDGE_EVENTS"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("events")) as server:
        yield server


@pytest_asyncio.fixture
async def client(server: AccountsServer) -> AsyncIterator[Client]:
    made = await server.connect("HUB")
    with contextlib.suppress(Exception):
        await made.jetstream().delete_stream(STREAM)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def told(client: Client) -> AsyncIterator[Events]:
    made = Events("pi-01")
    task = asyncio.create_task(made.run(client))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def stored(client: Client) -> list[tuple[str, str]]:
    found = read_all(client, STREAM, "edge.from.*.event.*", prefix="$JS.API")
    return [(item.subject, wire.decode(item.data, wire.Event).text) async for item in found]


async def make_stream(client: Client) -> None:
    await client.jetstream().add_stream(StreamConfig(name=STREAM, subjects=["edge.from.*.event.*"], allow_direct=True))


async def test_they_arrive_in_order_with_all_that_was_said(client: Client, told: Events) -> None:
    await make_stream(client)
    told.tell("info", "a.b", "first", number=1)
    told.tell("error", "a.c", "second")

    async def both() -> bool:
        return len(await stored(client)) == 2

    await until(both, "both are stored")
    assert await stored(client) == [("edge.from.pi-01.event.info", "first"), ("edge.from.pi-01.event.error", "second")]
    first, _ = [wire.decode(item.data, wire.Event) async for item in read_all(client, STREAM, "edge.from.>", prefix="$JS.API")]
    assert (first.kind, first.data) == ("a.b", {"number": 1})
    assert first.id
    assert first.time


async def test_they_wait_for_the_hub_and_the_oldest_go_when_there_are_too_many(
    client: Client, told: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "WAITING", 3)
    for number in range(5):
        told.tell("warning", "x", f"number {number}")
    assert told.dropped == 2
    await make_stream(client)
    told.link_came()

    async def all_there() -> bool:
        return [text for _, text in await stored(client)] == ["number 2", "number 3", "number 4"]

    await until(all_there, "those that had room are stored, once")


async def test_what_had_no_room_can_be_told_again_when_all_is_sent(
    client: Client, told: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "WAITING", 2)
    lost = ["number 0", "number 1"]

    def again() -> None:
        if lost:
            told.tell("warning", "x", lost.pop())

    told.on_empty = again
    for number in range(4):
        told.tell("warning", "x", f"number {number}")
    await make_stream(client)
    told.link_came()

    async def all_there() -> bool:
        return [text for _, text in await stored(client)] == ["number 2", "number 3", "number 1", "number 0"]

    await until(all_there, "one by one they are stored too")


async def test_who_told_one_hears_when_the_hub_has_it(client: Client, told: Events) -> None:
    sent: list[str] = []
    told.tell("info", "a.b", "first", on_sent=lambda: sent.append("first"))
    told.tell("info", "a.b", "second")
    told.tell("info", "a.b", "third", on_sent=lambda: sent.append("third"))
    assert sent == []
    await make_stream(client)
    told.link_came()
    await until(lambda: sent == ["first", "third"], "both are told, in order")
    assert [text for _, text in await stored(client)] == ["first", "second", "third"]


async def test_one_that_quotes_too_much_silences_no_other(client: Client, told: Events) -> None:
    """What others wrote may be of any length; the stream takes 16 KiB."""
    await client.jetstream().add_stream(
        StreamConfig(name=STREAM, subjects=["edge.from.*.event.*"], allow_direct=True, max_msg_size=16 << 10)
    )
    told.tell("error", "k" * 200_000, "\x1b" * 200_000, scope="s" * 200_000, number=5)
    told.tell("error", "battery.on_fire", "it burns")

    async def both() -> bool:
        return len(await stored(client)) == 2

    await until(both, "both are stored")
    first, _ = [wire.decode(item.data, wire.Event) async for item in read_all(client, STREAM, "edge.from.>", prefix="$JS.API")]
    assert len(first.kind) == events.MAX_KIND and len(first.text) == events.MAX_TEXT and first.data == {"number": 5}


async def test_one_that_the_hub_never_takes_is_given_up(client: Client, told: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "RETRY_SECONDS", (0.05, 0.05))
    config = StreamConfig(name=STREAM, subjects=["edge.from.*.event.*"], allow_direct=True, max_msg_size=400)
    await client.jetstream().add_stream(config)
    told.tell("error", "a.b", "x" * 900)
    told.tell("error", "a.c", "short")

    async def there() -> bool:
        return [text for _, text in await stored(client)] == ["short"]

    await until(there, "the other one is stored")
    assert told.dropped == 1
