"""NATS's own service protocol: an operator's tools list the agents, unless a device does not want to be listed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from nats.aio.client import Client

from edgeagent import __version__, subjects
from edgeagent.fleet import Fleet
from edgeagent.link import connect, settle
from edgeagent.trust import creds
from tests.support.fleet import CONTEXT_USER, PATIENCE_SECONDS, Device, LiveFleet, online
from tests.support.servers import until

LISTED, QUIET = ["pi-01", "pi-02"], "quiet-1"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    """Two devices as they come, and one with ``micro = false``."""
    folder = tmp_path_factory.mktemp("mixed")
    with LiveFleet(folder, count=2) as fleet, fleet.borrowed():
        quiet = Device(fleet, folder / QUIET, QUIET, "[agent]\nmicro = false")
        fleet.do(quiet.register())
        with quiet.running():
            fleet.until("all three answer", lambda outcome: online(outcome) == [*LISTED, QUIET])
            yield fleet


@pytest.fixture
async def tool(mixed: LiveFleet) -> AsyncIterator[Client]:
    """A tool of the operator's, with the inbox prefix that such tools are given."""
    client = await connect(
        mixed.url,
        what="list services",
        name="tool",
        inbox_prefix=subjects.micro_inbox(CONTEXT_USER),
        jwt=creds.callbacks(creds.load(mixed.credentials)),
        reconnect=False,
    )
    yield client
    await client.close()


async def answers(tool: Client, subject: str) -> list[dict[str, Any]]:
    """What came until the listed ones had answered, and the quiet one a question that was asked later."""
    inbox = tool.new_inbox()
    subscription = await tool.subscribe(inbox)
    await tool.publish(subject, reply=inbox)
    await settle(tool, what="ask")
    await until(lambda: subscription.pending_msgs >= len(LISTED), f"{subject} is answered")
    async with Fleet() as operator:
        assert online(await operator.query(devices=[QUIET], timeout=PATIENCE_SECONDS)) == [QUIET]
    await settle(tool, what="ask")
    messages = [await subscription.next_msg() for _ in range(subscription.pending_msgs)]
    return [json.loads(message.data) for message in messages]


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_the_agents_are_listed(mixed: LiveFleet, tool: Client, verb: str) -> None:
    found = await answers(tool, f"$SRV.{verb}")
    assert {answer["type"] for answer in found} == {f"io.nats.micro.v1.{verb.lower()}_response"}
    assert {(answer["name"], answer["version"]) for answer in found} == {("edgeagent", __version__)}
    assert sorted(answer["metadata"]["device"] for answer in found) == LISTED
    assert sorted(answer["metadata"]["device"] for answer in await answers(tool, f"$SRV.{verb}.edgeagent")) == LISTED


async def test_one_agent_is_asked_by_its_id(mixed: LiveFleet, tool: Client) -> None:
    one = (await answers(tool, "$SRV.PING"))[0]
    message = await tool.request(f"$SRV.INFO.edgeagent.{one['id']}", timeout=PATIENCE_SECONDS)
    assert json.loads(message.data)["metadata"] == one["metadata"]
