"""What a real nats-server says of trouble comes to people as events, once, whoever makes it and however often."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from edgeagent import subjects, wire
from edgeagent.direct import read_all
from edgeagent.hub import alarmwatch, streams
from edgeagent.hub.alarmwatch import AlarmWatch
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.ownevents import STREAM, OwnEvents
from edgeagent.link import Client
from edgeagent.runtime import Tasks
from tests.support.exporting import services
from tests.support.provisioninghub import STORE_BYTES, ProvisioningHub, started
from tests.support.servers import until

LOGINS = 400


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("alarms")) as place:
        yield place


@pytest_asyncio.fixture
async def hub(place: ProvisioningHub) -> AsyncIterator[Client]:
    async with services(place, STREAM) as client:
        yield client


@pytest_asyncio.fixture
async def watches(place: ProvisioningHub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[AlarmWatch]]:
    """Three instances, each with connections of its own, which become impatient at the same moment."""
    monkeypatch.setattr(alarmwatch, "PATIENCE_SECONDS", (1.0, 1.0))
    made, tasks, clients = [], Tasks(), list[Client]()
    for _ in range(3):
        hub, system = [await place.connect(place.owner.service_credentials(name)) for name in ("hub", "sys")]
        clients += [hub, system]
        events = OwnEvents(hub)
        watch = AlarmWatch(system, hub, events)
        await watch.start()
        tasks.start("events", events.run())
        tasks.start("watch", watch.run())
        await hub.flush()
        await system.flush()
        made.append(watch)
    yield made
    await tasks.close()
    for client in clients:
        await client.close()


async def told(hub: Client) -> list[tuple[str, wire.Event]]:
    found = []
    async for item in read_all(hub, STREAM, subjects.event(subjects.HUB, "*"), prefix=PREFIX):
        found.append((item.subject.rpartition(".")[2], wire.decode(item.data, wire.Event)))
    return found


def is_done(watch: AlarmWatch) -> bool:
    return watch.tally._kinds["hub.auth_errors"].told > 0 and not watch._events._waiting


async def knock(port: int) -> None:
    """A login that the server refuses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":false,"name":"\\u001b[2Jintruder"}\r\n')
    with contextlib.suppress(OSError):
        assert b"Authorization Violation" in await reader.read()
    writer.close()


async def test_a_flood_of_logins_is_one_event_of_one_instance(
    place: ProvisioningHub, hub: Client, watches: list[AlarmWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarmwatch, "READ_AT_ONCE", 100)
    for start in range(0, LOGINS, 50):
        await asyncio.gather(*(knock(place.port) for _ in range(start, start + 50)))

    async def all_counted() -> bool:
        return all(watch.tally.totals["hub.auth_errors"] == LOGINS for watch in watches) and bool(await told(hub))

    await until(all_counted, "each instance counted all, and one told")
    await until(lambda: all(is_done(watch) for watch in watches), "each told it, or heard that it was told")
    ((severity, event),) = await told(hub)
    assert (severity, event.kind) == ("warning", "hub.auth_errors")
    assert event.data["count"] <= LOGINS and event.data["who"] == "127.0.0.1: Authentication Failure"


async def test_a_stream_that_somebody_deletes(hub: Client, watches: list[AlarmWatch]) -> None:
    await hub.jetstream().delete_stream("EDGE_DATA")
    await until(lambda: all(watch.tally.totals["hub.jetstream.stream_deleted"] for watch in watches), "all heard of it")

    async def there() -> bool:
        return any(event.kind == "hub.jetstream.stream_deleted" for _, event in await told(hub))

    await until(there, "it is told")
    await streams.ensure(hub.jetstream(), STORE_BYTES)
    own = [(severity, event.text) for severity, event in await told(hub) if event.kind == "hub.jetstream.stream_deleted"]
    assert own == [("error", "the stream EDGE_DATA was deleted (1 such words)")]


async def test_who_reads_too_slowly_is_named(place: ProvisioningHub, hub: Client, watches: list[AlarmWatch]) -> None:
    """A person who asks for everything and reads nothing."""
    person = await place.person("slow", "viewer")
    await person.subscribe("edge.live.>")
    await person.flush()
    person._transport._io_reader._transport.pause_reading()  # type: ignore[union-attr]  # the socket fills up, as of one that hangs
    server = await place.connect(place.owner.service_credentials("hub"))
    data = b"x" * 900_000

    async def pour() -> bool:
        for _ in range(20):
            await server.publish("edge.live.pi-01.data", data)
        await server.flush(30)
        return all(watch.tally.totals["hub.slow_consumer"] for watch in watches)

    await until(pour, "the server lets go of it")

    async def there() -> bool:
        return any(event.kind == "hub.slow_consumer" and event.data["who"] == "slow" for _, event in await told(hub))

    await until(there, "it is told who")
    await server.close()
    await person.close()
