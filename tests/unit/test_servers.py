"""Lists of a hub's servers, and a client's way from one to the next, against real servers and real silence."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent import serverpool, servers
from edgeagent.errors import Refused, Unreachable
from edgeagent.link import connect
from edgeagent.natsserver import ports
from tests.support.servers import PlainHub, until


def test_a_list_of_one_and_of_many() -> None:
    assert servers.split("nats://a:4222") == ["nats://a:4222"]
    assert servers.split("tls://a:1, tls://b:2 ,,tls://a:1") == ["tls://a:1", "tls://b:2"]
    assert servers.joined(["a", "b", "a"]) == "a,b"


@pytest.fixture
def silent() -> Iterator[str]:
    """The url of one that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"nats://127.0.0.1:{listening.getsockname()[1]}"


def nowhere() -> str:
    return f"nats://127.0.0.1:{ports.pick()}"


async def test_a_client_begins_elsewhere_and_goes_on_elsewhere(tmp_path: Path, silent: str) -> None:
    async with PlainHub(tmp_path / "1") as first, PlainHub(tmp_path / "2") as second:
        urls = [nowhere(), silent, first.url, second.url]
        client = await connect(",".join(urls), what="w", name="n", inbox_prefix="_INBOX.t", in_order=True, reconnect=False)
        assert client.connected_url is not None and client.connected_url.port == first.port
        first.kill()

        async def elsewhere() -> bool:
            return bool(client.is_connected and client.connected_url and client.connected_url.port == second.port)

        await until(elsewhere, "it is at the other server")
        heard = await client.subscribe("question")
        await client.publish("question", b"answer")
        assert (await heard.next_msg(timeout=5)).data == b"answer"
        await client.close()


async def test_none_of_them_can_be_used(silent: str) -> None:
    with pytest.raises(Unreachable) as caught:
        await connect(f"{nowhere()},{nowhere()}", what="reach it", name="n", inbox_prefix="_INBOX.t")
    assert str(caught.value).count("nothing listens at") == 2 and "none of 2 servers" in str(caught.value)


async def test_a_refusal_says_more_than_silence() -> None:
    async def dial(url: str, seconds: int) -> object:
        raise Refused("w", "not you") if url == "b" else Unreachable("w", "silence")

    with pytest.raises(Refused, match="not you"):
        await serverpool.first_of(["a", "b", "c"], "w", dial)  # type: ignore[arg-type]  # it returns nothing
