"""The hub's own events: told also while its store takes nothing, once, and by nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("aiohttp")

from edgeagent import subjects, wire
from edgeagent.direct import NOT_STORED, read_all
from edgeagent.fleet import Fleet
from edgeagent.fleet.events import Happened
from edgeagent.hub import ownevents, streams
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.exportsettings import Webhook
from edgeagent.hub.notify import Receiver, at_once
from edgeagent.hub.ownevents import STREAM, OwnEvents
from edgeagent.link import Client, settle
from edgeagent.runtime import Tasks
from tests.support.exporting import Server, services
from tests.support.provisioninghub import STORE_BYTES, ProvisioningHub, started
from tests.support.rogue import Rogue
from tests.support.servers import until


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("ownevents")) as place:
        yield place


@pytest_asyncio.fixture
async def hub(place: ProvisioningHub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(ownevents, "RETRY_SECONDS", (0.05, 0.2))
    async with services(place, STREAM) as client:
        yield client


@pytest_asyncio.fixture
async def own(hub: Client) -> AsyncIterator[OwnEvents]:
    made, tasks = OwnEvents(hub), Tasks()
    tasks.start("own events", made.run())
    yield made
    await tasks.close()


@pytest_asyncio.fixture
async def seen(place: ProvisioningHub, own: OwnEvents, tmp_path: Path) -> AsyncIterator[list[Happened]]:
    """What `edgeagent events --follow` shows."""
    login, found, ready = tmp_path / "olga.creds", list[Happened](), asyncio.Event()
    login.write_text(place.owner.operator_credentials("olga", "viewer").format())
    login.chmod(0o600)
    async with Fleet(url=f"nats://127.0.0.1:{place.port}", credentials=login) as fleet:

        async def follow() -> None:
            async with aclosing(fleet.events.follow(ready=ready.set)) as events:
                async for event in events:
                    found.append(event)

        task = asyncio.create_task(follow())
        await asyncio.wait({task, asyncio.ensure_future(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        yield found
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def kept(hub: Client) -> list[wire.Event]:
    wanted = subjects.event(subjects.HUB, "*")
    return [wire.decode(item.data, wire.Event) async for item in read_all(hub, STREAM, wanted, prefix=PREFIX)]


async def test_it_is_stored_and_shown(hub: Client, own: OwnEvents, seen: list[Happened]) -> None:
    own.tell("warning", "hub.slow_consumer", "somebody is slow", count=3)
    own.tell("info", "hub.odd", "x" * 5000, what=object())
    await until(lambda: len(seen) == 2, "both are shown")
    first, second = seen
    assert (first.device, first.severity, first.kind, first.data) == ("hub", "warning", "hub.slow_consumer", {"count": 3})
    assert first.sequence and len(second.text) == 1000 and second.data == {}
    assert [event.id for event in await kept(hub)] == [first.id, second.id]


async def test_a_store_that_takes_nothing_keeps_nobody_from_hearing_and_nobody_hears_twice(
    hub: Client, own: OwnEvents, seen: list[Happened]
) -> None:
    server = Server()
    async with server.running():
        receivers = [Receiver(hub, name, Webhook(url=f"{server.url}/{name}", minimum=least), Path()) for name, least in NAMED]
        own.at_once = partial(at_once, receivers)
        await hub.jetstream().delete_stream(STREAM)
        own.tell("critical", "hub.store_full", "the hub's store is full")
        own.tell("info", "hub.store_back", "it is not")
        await until(lambda: len(seen) == 2 and len(server.posted) == 3, "people know")
        assert [event.sequence for event in seen] == [0, 0]
        assert sorted(posted.path for posted in server.posted) == ["/chat", "/chat", "/ops"]
        await streams.ensure(hub.jetstream(), STORE_BYTES)
        tasks = Tasks()
        for receiver in receivers:
            await receiver.start()
            tasks.start(receiver.name, receiver.run())
        own.tell("error", "hub.last", "that was all")
        await until(lambda: len(seen) == 3 and len(server.posted) == 6, "it goes on")
        assert [event.kind for event in await kept(hub)] == ["hub.store_full", "hub.store_back", "hub.last"]
        assert [event.kind for event in seen] == ["hub.store_full", "hub.store_back", "hub.last"]
        # The end of what was told is told, whatever its own severity.
        assert sorted(posted.path for posted in server.posted) == ["/chat"] * 3 + ["/ops"] * 3
        await tasks.close()


NAMED = [("ops", "warning"), ("chat", "debug")]


async def test_what_waits_is_bounded_and_a_lost_word_of_the_store_doubles_nothing(
    hub: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownevents, "MAX_WAITING", 3)
    made, tasks = OwnEvents(hub), Tasks()
    for number in range(5):
        made.tell("info", "hub.odd", f"{number}")
    assert made.dropped == 2
    true = ownevents.published

    async def deaf(*words: object, **more: object) -> int:
        monkeypatch.setattr(ownevents, "published", true)
        await true(*words, **more)  # type: ignore[arg-type]  # as it was called
        raise ownevents.EdgeError("store it", "its word was lost")

    monkeypatch.setattr(ownevents, "published", deaf)
    tasks.start("own events", made.run())
    made.tell("debug", "hub.odd", "5")

    async def is_there() -> bool:
        return bool(found := await kept(hub)) and found[-1].text == "5"

    await until(is_there, "all are stored")
    assert [event.text for event in await kept(hub)] == ["3", "4", "5"]
    await tasks.close()


async def test_nobody_else_speaks_as_the_hub(place: ProvisioningHub, hub: Client, own: OwnEvents, seen: list[Happened]) -> None:
    forged = wire.encode(wire.Event(kind="hub.store_full", text="forged"))
    mark = {NOT_STORED: "2026-11-22T12:00:00Z"}
    login = place.owner.device_credentials("pi-01")
    for is_hub in (False, True):
        async with await Rogue.connect(place.leaf_port, login, is_hub=is_hub) as device:
            device.publish(subjects.event("pi-01", "info"), forged, headers=mark)  # its own: shown as its own
            for subject in (subjects.event("hub", "critical"), subjects.live("hub", "event.critical")):
                device.publish(subject, forged, headers=mark)
            await device.settle()
    person = await place.person("mallory", "operator")
    log = subjects.command_log(subjects.Scope.group("paris"), 1)
    await person.request(log, forged, headers=mark)
    await person.publish(subjects.direct_get("EDGE_COMMANDS", log), reply=subjects.live("hub", "event.critical"))
    for subject in (subjects.event("hub", "critical"), subjects.live("hub", "event.critical")):
        await person.publish(subject, forged, headers=mark)
    await settle(person, what="be heard")
    own.tell("info", "hub.odd", "the last")
    await until(lambda: bool(seen) and seen[-1].text == "the last", "all before it was heard")
    assert {(event.device, event.text) for event in seen} == {("pi-01", "forged"), ("hub", "the last")}
    assert [event.text for event in await kept(hub)] == ["the last"]
    await person.close()
