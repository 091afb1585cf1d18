"""What the hub answers to a publish, also when it is not the hub that answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from edgeagent.errors import Failed
from edgeagent.link import Client, settle
from edgeagent.publish import published, published_if
from tests.support.accounts import AccountsServer, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("publish")) as server:
        yield server


@pytest_asyncio.fixture
async def hub(server: AccountsServer) -> AsyncIterator[Client]:
    await server.make_stream("KEPT", "kept.*")
    client = await server.connect("HUB")
    yield client
    await client.close()


async def test_a_fence_holds_or_nothing_is_stored(hub: Client) -> None:
    first = await published_if(hub, "kept.a", b"1", 0, what="keep it")
    assert first and await published_if(hub, "kept.a", b"2", 0, what="keep it") is None
    second = await published_if(hub, "kept.a", b"3", first, what="keep it")
    assert second and second > first and await published(hub, "kept.a", b"4") > second


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"error": 1}',
        b'{"seq": "x"}',
        b'{"seq": 0}',
        b'{"seq": 9223372036854775808}',
        b'{"error": {"description": "\\ud800"}}',
        b"\xff",
    ],
    ids=range(10),
)
async def test_an_answer_that_makes_no_sense_is_a_failure_of_ours(hub: Client, answer: bytes) -> None:
    async def nonsense(message: object) -> None:
        await hub.publish(message.reply, answer)  # type: ignore[attr-defined]  # nats-py's message

    subscription = await hub.subscribe("other.subject", cb=nonsense)
    await settle(hub, what="listen")
    for publishing in (
        published(hub, "other.subject", b"x", what="keep it"),
        published_if(hub, "other.subject", b"x", 1, what="keep it"),
    ):
        with pytest.raises(Failed):
            await publishing
    await subscription.unsubscribe()
