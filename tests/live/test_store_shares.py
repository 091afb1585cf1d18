"""What devices measure takes nothing of the room that commands, configuration, outcomes and the audit need."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from edgeagent import subjects
from edgeagent.assembly import storefindings
from edgeagent.assembly.storefindings import Fill
from edgeagent.hub.storestate import limits_sum
from edgeagent.hub.streams import STREAMS
from edgeagent.link import Client, request
from edgeagent.publish import published
from tests.support.accounts import AccountsServer
from tests.support.servers import until

#: The server's own limit in :class:`AccountsServer`; a stream of samples with 13.5 % of it takes a chunk of the largest size many times.
STORE_BYTES = 64 << 20
CHUNK_BYTES = 30 << 10


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Client]:
    server = AccountsServer(tmp_path)
    await server.start()
    client = await server.connect("HUB")
    for stream in STREAMS:
        await client.jetstream().add_stream(stream.configuration(STORE_BYTES))
    yield client
    await client.close()
    server.kill()


async def fill_of(hub: Client, name: str) -> Fill:
    info = json.loads((await request(hub, f"$JS.API.STREAM.INFO.{name}", what="look")).data)
    return Fill(name, info["state"]["bytes"], info["config"]["max_bytes"], info["state"]["first_seq"] - 1)


async def test_samples_at_their_limit_leave_room_for_everything_else(hub: Client) -> None:
    chunk = random.Random(1).randbytes(CHUNK_BYTES)
    for number in range(STORE_BYTES // 4 // CHUNK_BYTES):
        await published(hub, f"edge.from.pi-{number}.metric", chunk)
    full = await fill_of(hub, subjects.METRICS)
    assert full.part > 0.95 and full.gone > 0, "the oldest went, and are counted"
    assert full.used <= full.limit and sum([(await fill_of(hub, each.name)).limit for each in STREAMS]) <= limits_sum(STORE_BYTES)
    levels = {said.level for said in storefindings.fill([await fill_of(hub, each.name) for each in STREAMS])}
    assert levels == {"good"}, "nobody has to do anything"

    body = bytes(60 << 10)
    for number in range(1, 21):
        await published(hub, f"edge.to.device.pi-1.cmd.{number}", body)
        await published(hub, f"$KV.edge_config.device.pi-{number}", body)
        await published(hub, f"edge.from.pi-1.result.{number}", body)

    async def copied() -> bool:
        return (await fill_of(hub, "EDGE_AUDIT")).used > 40 * len(body)

    await until(copied, "the audit has the commands and the configuration")


async def test_a_stream_that_refuses_what_does_not_fit_goes_red_before_it_does(hub: Client) -> None:
    name, body = "KV_edge_people", bytes(15 << 10)
    limit = (await fill_of(hub, name)).limit
    for number in range(limit * 9 // 10 // len(body)):
        await published(hub, f"$KV.edge_people.p{number}", body)
    [said] = storefindings.fill([await fill_of(hub, name)])
    assert said.level == "warn" and name in said.text and "store_max_bytes" in said.remedy
