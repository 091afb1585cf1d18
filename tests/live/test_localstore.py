"""The leaf's streams: made once, changed with the settings, and what prevents it is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType

from edgeagent.errors import Failed
from edgeagent.link import Client, connect
from edgeagent.localsubjects import LOCAL_DATA, LOCAL_METRICS
from edgeagent.patterns import localstore
from tests.support.servers import PlainHub


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with PlainHub(tmp_path) as server:
        client = await connect(server.url, what="reach it", name="test", inbox_prefix="_INBOX.test")
        yield client
        await client.close()


async def test_they_are_made_and_what_is_in_them_outlives_a_change(client: Client) -> None:
    js = client.jetstream()
    await localstore.ensure(client, 32 << 20)
    await js.publish("local.metric.door", b"1")
    made = (await js.stream_info(LOCAL_METRICS)).config
    assert (made.storage, made.retention, made.discard) == (StorageType.FILE, RetentionPolicy.LIMITS, DiscardPolicy.OLD)
    assert (made.max_age, made.duplicate_window, made.allow_direct) == (0, 0.1, True)

    await localstore.ensure(client, 64 << 20)
    changed = await js.stream_info(LOCAL_METRICS)
    assert (made.max_bytes, changed.config.max_bytes) == (int(0.55 * (32 << 20)), int(0.55 * (64 << 20)))
    assert changed.state.messages == 1
    assert (await js.stream_info(LOCAL_DATA)).config.subjects == ["local.data.>"]


async def test_what_is_as_wanted_is_left_alone(client: Client) -> None:
    heard = await client.subscribe("$JS.EVENT.ADVISORY.STREAM.>")
    await localstore.ensure(client, 32 << 20)
    await localstore.ensure(client, 32 << 20)
    await client.jetstream().delete_stream(LOCAL_DATA)
    events = [(await heard.next_msg(timeout=10)).subject.split(".")[4] for _ in range(3)]
    assert events == ["CREATED", "CREATED", "DELETED"]


async def test_the_servers_reason_is_said(client: Client) -> None:
    await client.jetstream().add_stream(name="other", subjects=["local.metric.>"])
    with pytest.raises(Failed, match=r"set up the local stream LOCAL_METRIC: subjects overlap with an existing stream"):
        await localstore.ensure(client, 32 << 20)
    await client.close()
    with pytest.raises(Failed, match="the connection is closed"):
        await localstore.ensure(client, 32 << 20)
