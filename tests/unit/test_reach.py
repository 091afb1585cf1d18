from __future__ import annotations

import asyncio

import pytest

from edgeagent.assembly.reach import all_servers, candidates, endpoint, silence
from edgeagent.enrolment import Admission
from edgeagent.errors import UsageProblem
from edgeagent.natsserver import ports


@pytest.mark.parametrize(
    ("hub", "tls", "proxy", "tried"),
    [
        ("hub.example", True, False, ["tls://hub.example:7422", "wss://hub.example:443"]),
        ("hub.example", False, False, ["nats-leaf://hub.example:7422", "ws://hub.example:80"]),
        ("hub.example", True, True, ["wss://hub.example:443"]),
        ("hub.example", False, True, ["ws://hub.example:80"]),
        ("hub.example:99", True, False, ["tls://hub.example:99", "wss://hub.example:99"]),
        ("hub.example:99", False, False, ["nats-leaf://hub.example:99", "ws://hub.example:99"]),
        (" 10.0.0.7 ", True, False, ["tls://10.0.0.7:7422", "wss://10.0.0.7:443"]),
        ("[fd00::1]:99", True, False, ["tls://[fd00::1]:99", "wss://[fd00::1]:99"]),
        ("wss://hub.example", True, False, ["wss://hub.example:443"]),
        ("wss://hub.example/", True, True, ["wss://hub.example:443"]),
        ("wss://hub.example", False, False, ["wss://hub.example:443"]),
        ("tls://hub.example:9", True, False, ["tls://hub.example:9"]),
        ("nats-leaf://hub.example", False, False, ["nats-leaf://hub.example:7422"]),
        ("a,b:99", True, False, ["tls://a:7422", "tls://b:99", "wss://a:443", "wss://b:99"]),
    ],
)
def test_what_is_tried(hub: str, tls: bool, proxy: bool, tried: list[str]) -> None:
    assert candidates(hub, tls=tls, proxy=proxy) == tried


@pytest.mark.parametrize(
    ("hub", "tls", "proxy", "why"),
    [
        ("", True, False, "no address"),
        ("a b", True, False, "no address"),
        ("hub.example:port", True, False, "no address"),
        ("hub.example:70000", True, False, "no address"),
        ("hub.example/leafs", True, False, "no address"),
        ("wss://user@hub.example", True, False, "no address"),
        ("https://hub.example", True, False, "there is no https://"),
        ("nats-leaf://hub.example", True, False, "by TLS only"),
        ("ws://hub.example", True, False, "by TLS only"),
        ("nats://hub.example", True, False, "by TLS only"),
        ("tls://hub.example", True, True, "only ws:// and wss:// pass a proxy"),
    ],
)
def test_what_cannot_be_meant(hub: str, tls: bool, proxy: bool, why: str) -> None:
    with pytest.raises(UsageProblem, match=why):
        candidates(hub, tls=tls, proxy=proxy)


def test_where_the_connection_goes() -> None:
    assert endpoint("tls://hub.example") == ("hub.example", 7422)
    assert endpoint("wss://hub.example") == ("hub.example", 443)
    assert endpoint("tls://[fd00::1]:9") == ("fd00::1", 9)
    assert endpoint("wss://hub.example", "http://u:p@proxy.example:3128") == ("proxy.example", 3128)


async def test_whether_somebody_listens() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await silence("127.0.0.1", port) == ""
    server.close()
    await server.wait_closed()
    assert await silence("127.0.0.1", port) == "nothing listens there"
    assert (await silence("nowhere.invalid", ports.pick())).startswith("the name ")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("tls://a:7422", "tls://a:7422,tls://b:7422,tls://c:9"),
        ("wss://proxied.example:443", "wss://proxied.example:443,wss://a:443"),
        ("tls://127.0.0.1:7422", "tls://127.0.0.1:7422,tls://a:7422,tls://b:7422,tls://c:9"),
    ],
)
def test_a_device_keeps_all_servers_and_the_way_that_worked(url: str, kept: str) -> None:
    admission = Admission(id="pi", jwt="", renewal="", hub="", servers=["a:7422", "b:7422", "c:9"], websockets=["a:443"])
    assert all_servers(url, admission) == kept
    assert all_servers(url, Admission(id="pi", jwt="", renewal="", hub="")) == url


def test_addresses_of_the_hubs_own_machine_are_for_that_machine() -> None:
    admission = Admission(id="pi", jwt="", renewal="", hub="", servers=["127.0.0.1:1", "localhost:2", "[::1]:3"])
    assert all_servers("tls://hub.example:7422", admission) == "tls://hub.example:7422"
    assert all_servers("tls://127.0.0.1:1", admission) == "tls://127.0.0.1:1,tls://localhost:2,tls://[::1]:3"
