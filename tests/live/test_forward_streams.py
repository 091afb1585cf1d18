"""The hub's streams for chunks: a hub that has them in an older form is changed in place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from nats.js import api

from edgeagent import subjects
from edgeagent.hub import streams
from tests.support.trusthub import STORE_BYTES, TrustHub


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path) as hub:
        yield hub


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
