"""Storing just once although an answer was lost, and the word of the hub's services where its store is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.js.api import StreamConfig

from edgeagent import fenced
from edgeagent.direct import get_last, read_all
from edgeagent.errors import StoreFull, Unreachable
from edgeagent.fenced import stored_if
from edgeagent.hub.storekeeper import stores
from edgeagent.hub.storevoice import StoreVoice
from edgeagent.link import Client, connect, settle
from edgeagent.publish import published
from tests.support.accounts import AccountsServer
from tests.support.servers import until

API = "$JS.API"
STREAM, SUBJECT = "EDGE_COMMANDS", "edge.to.fleet.all.cmd.1"


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[AccountsServer]:
    made = AccountsServer(tmp_path)
    await made.start()
    yield made
    made.kill()


@pytest_asyncio.fixture
async def hub(server: AccountsServer) -> AsyncIterator[Client]:
    client = await connect(server.url, what="reach the server", name="hub", inbox_prefix="_INBOX.hub", password=("hub", "secret"))
    yield client
    await client.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fenced, "FIRST_SECONDS", 0.2)


def silent(no_ack: bool) -> StreamConfig:
    return StreamConfig(name=STREAM, subjects=["edge.to.*.*.cmd.*"], no_ack=no_ack, allow_direct=True)


async def stored(hub: Client, data: bytes, sequence: int = 0) -> int | None:
    return await stored_if(hub, SUBJECT, data, sequence, stream=STREAM, what="store it", prefix=API)


async def test_an_answer_that_was_lost(hub: Client) -> None:
    js = hub.jetstream()
    await js.add_stream(silent(no_ack=True))
    asking = asyncio.ensure_future(stored(hub, b"mine"))

    async def there() -> bool:
        return (await js.stream_info(STREAM)).state.messages == 1

    await until(there, "the first try is stored")
    await js.update_stream(silent(no_ack=False))
    assert await asking == 1, "it is found to be there"
    assert (await js.stream_info(STREAM)).state.messages == 1
    assert await stored(hub, b"another") is None, "somebody else was first"
    assert await stored(hub, b"another", 1) == 2


async def test_nobody_at_first_and_nobody_at_all(hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = asyncio.ensure_future(stored(hub, b"mine"))
    await hub.jetstream().add_stream(silent(no_ack=False))
    assert await asking == 1
    await hub.jetstream().delete_stream(STREAM)
    with pytest.raises(Unreachable) as found:
        await stored(hub, b"mine")
    assert not isinstance(found.value, StoreFull)


async def test_the_services_answer_where_the_store_is_silent(hub: Client) -> None:
    voice = StoreVoice(hub)
    await voice.speak_for(frozenset({STREAM}), reads=True)
    for asking in (stored(hub, b"1"), published(hub, SUBJECT, b"1"), get_last(hub, STREAM, SUBJECT, prefix=API)):
        with pytest.raises(StoreFull, match=r"the hub's store is full\. Free some space on the disk of the hub"):
            await asking
    with pytest.raises(StoreFull):
        [item async for item in read_all(hub, STREAM, SUBJECT, prefix=API)]
    await voice.speak_for(frozenset({STREAM}), reads=False)
    with pytest.raises(Unreachable) as found:
        await get_last(hub, STREAM, SUBJECT, prefix=API)
    assert not isinstance(found.value, StoreFull), "that is JetStream's to answer"
    await voice.speak_for(frozenset(), reads=False)
    with pytest.raises(Unreachable) as found:
        await published(hub, SUBJECT, b"1")
    assert not isinstance(found.value, StoreFull)


async def test_nobody_has_the_answer_sent_where_it_would_be_believed(hub: Client) -> None:
    """Whoever asks chooses the reply: an answer must not become a command, a report or an event."""
    voice, heard = StoreVoice(hub), list[Any]()

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    await voice.speak_for(frozenset({STREAM}), reads=True)
    for subject in ("edge.from.>", "edge.live.>", "edge.admin.>"):
        await hub.subscribe(subject, cb=hear)
    for reply in ("edge.from.pi-1.report", "edge.live.hub.event.error", "edge.admin.olga.device_revoke", ""):
        await hub.publish(SUBJECT, b"1", reply=reply)
    with pytest.raises(StoreFull):
        await published(hub, SUBJECT, b"1")  # it is answered after the others
    await settle(hub, what="hear what was said")
    assert heard == [] and voice.refused == 1


async def test_servers_tell_how_their_store_is(server: AccountsServer) -> None:
    system = await server.connect("SYS")
    [found] = await stores(system, 1)
    assert found.is_good
    await system.close()
