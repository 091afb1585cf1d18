"""Following what devices store, when the hub loses its store meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from edgeagent.assembly.hublogin import sign_in
from edgeagent.demo.cable import Cable
from edgeagent.fleet import Fleet
from edgeagent.fleet.following import end_of, follow
from edgeagent.hub import streams
from edgeagent.hub.keyring import Keyring
from edgeagent.publish import published
from edgeagent.subjects import METRICS, metric
from tests.support.fleet import LiveFleet
from tests.support.servers import until


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("following"), 0) as fleet, fleet.borrowed():
        yield fleet


async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(hub: LiveFleet) -> None:
    """Its sequences are lower than what was seen."""
    cable, told, ready, links = Cable(("127.0.0.1", hub.hub.options().client_port)), list[bytes](), asyncio.Event(), list[bool]()
    await cable.start()
    owner = await sign_in(hub.hub, Keyring.load(hub.hub.path), "hub")
    async with Fleet(url=f"nats://127.0.0.1:{cable.port}", credentials=hub.credentials) as fleet:

        async def tail() -> None:
            found = follow(fleet.client, METRICS, "metric", metric, None, ready=ready.set, on_link=links.append)
            async with aclosing(found) as messages:
                async for message in messages:
                    told.append(message.data)

        task = asyncio.create_task(tail())
        await ready.wait()
        for number in range(5):
            await published(owner, metric("pi-01"), b"%d" % number)
        await until(lambda: len(told) == 5, "all are told")
        await cable.cut()
        await until(lambda: links == [False], "it is noticed")
        await owner.jetstream().delete_stream(METRICS)
        await cable.restore()
        await until(lambda: links == [False, True], "it is back, before the stream is")
        await streams.ensure(owner.jetstream(), hub.hub.options().store_max_bytes)
        await published(owner, metric("pi-01"), b"anew")
        await until(lambda: told[5:] == [b"anew"], "what is new is told")
        assert (await end_of(fleet.client, METRICS)).sequence == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await owner.close()
    await cable.close()
