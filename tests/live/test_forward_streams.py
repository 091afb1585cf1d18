"""The hub's streams for chunks: a hub that has them in an older form is changed in place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.js import api

from edgeagent import subjects
from edgeagent.chunk import HEADERS_BYTES
from edgeagent.hub import streams
from edgeagent.patterns.forwardchunks import DATA, METRICS, Kind
from edgeagent.publish import TooLarge, published_if
from tests.support.trusthub import STORE_BYTES, TrustHub


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path) as hub:
        yield hub


@pytest.mark.parametrize("kind", [METRICS, DATA], ids=lambda kind: kind.name)
async def test_the_largest_chunk_is_taken_with_its_fence(hub: TrustHub, kind: Kind) -> None:
    """JetStream counts headers too."""
    client, subject = await hub.connect("HUB"), kind.say("pi-1")
    sequence = await published_if(client, subject, bytes(kind.limit), 0, what="store")
    assert sequence and await published_if(client, subject, bytes(kind.limit), sequence, what="store")
    with pytest.raises(TooLarge):
        await published_if(client, subject, bytes(kind.limit + HEADERS_BYTES), sequence + 1, what="store")


async def test_an_older_hubs_streams_are_changed_in_place(hub: TrustHub) -> None:
    js = (await hub.connect("HUB")).jetstream()
    assert await streams.ensure(js, STORE_BYTES) == []
    for name, wanted, old in (
        (subjects.METRICS, "edge.from.*.metric", "edge.from.*.metric"),
        (subjects.DATA, "edge.from.*.data", "edge.from.*.data.*"),
    ):
        config = (await js.stream_info(name)).config
        assert (config.subjects, config.compression) == ([wanted], "s2")
        before = config.evolve(subjects=[old], compression=api.StoreCompression.NONE, max_msg_size=64 << 10, republish=None)
        await js.update_stream(before)
    assert await streams.ensure(js, STORE_BYTES) == [subjects.METRICS, subjects.DATA]
    assert (await js.publish("edge.from.pi-1.data", bytes(513 << 10))).stream == subjects.DATA
    assert await streams.ensure(js, STORE_BYTES) == []
