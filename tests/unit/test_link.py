"""Connecting and asking, against real servers, real silence and real refusals."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeagent import direct, link, serverpool
from edgeagent.errors import Closed, EdgeError, Failed, Refused, Unreachable
from edgeagent.hub.owner import Owner
from edgeagent.link import Client, connect, request, settle
from edgeagent.natsserver import binary, ports
from edgeagent.times import parse_rfc3339
from edgeagent.trust import creds
from tests.support.accounts import AccountsServer, running
from tests.support.servers import PlainHub, until

PREFIX = "$JS.API"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("link")) as server:
        yield server


@pytest.fixture
async def hub(server: AccountsServer) -> AsyncIterator[Client]:
    client = await server.connect("HUB")
    yield client
    await client.close()


async def refusal(url: str, **options: object) -> EdgeError:
    with pytest.raises(EdgeError) as caught:
        await connect(url, what="reach the hub", name="test", inbox_prefix="_INBOX.test", **options)  # type: ignore[arg-type]  # passed on
    return caught.value


@asynccontextmanager
async def greeting(words: bytes | None) -> AsyncIterator[str]:
    """A listener that says ``words`` and then nothing; None: hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words or b"")
        if words is None:
            writer.close()
            return
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


async def test_nothing_listens() -> None:
    url = f"nats://127.0.0.1:{ports.pick()}"
    error = await refusal(url)
    assert isinstance(error, Unreachable)
    assert str(error) == f"cannot reach the hub: nothing listens at {url}. Start it, or check the address"


@pytest.mark.parametrize("password", [("hub", "wrong"), ("nobody", "secret"), None])
async def test_wrong_credentials(server: AccountsServer, password: tuple[str, str] | None) -> None:
    error = await refusal(server.url, password=password)
    assert isinstance(error, Refused)
    assert error.why == f"the server at {server.url} does not accept these credentials"


async def test_credentials_of_another_hub(server: AccountsServer, tmp_path: Path) -> None:
    stranger = Owner.create("other").operator_credentials("olga", "admin")
    assert isinstance(await refusal(server.url, jwt=creds.callbacks(stranger)), Refused)


async def test_a_listener_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serverpool, "CONNECT_TIMEOUT_SECONDS", 0.1)
    async with greeting(b"") as url:
        error = await refusal(url)
    assert isinstance(error, Unreachable) and error.why == f"{url} did not answer within 0.1 s"


@pytest.mark.parametrize("words", [None, b"SSH-2.0-OpenSSH_9.2p1\r\n", b"INFO {}\r\n-ERR 'gone'\r\n", b"INFO not json\r\n"])
async def test_a_listener_that_is_no_nats_server(monkeypatch: pytest.MonkeyPatch, words: bytes | None) -> None:
    monkeypatch.setattr(serverpool, "CONNECT_TIMEOUT_SECONDS", 0.5)
    async with greeting(words) as url:
        error = await refusal(url)
    assert isinstance(error, Unreachable) and url in error.why


@pytest.mark.parametrize(
    "url", ["nats://no-such-host.invalid:4222", "nats://127.0.0.1:99999", "hub example", "http://127.0.0.1:1", ""]
)
async def test_addresses_that_lead_nowhere(url: str) -> None:
    assert isinstance(await refusal(url), Unreachable)


async def test_no_traceback_is_printed_on_the_way(capfd: pytest.CaptureFixture[str]) -> None:
    await refusal(f"nats://127.0.0.1:{ports.pick()}")
    assert capfd.readouterr() == ("", "")


async def test_a_connection_comes_back_by_itself(tmp_path: Path) -> None:
    away, back = asyncio.Event(), asyncio.Event()

    async def gone() -> None:
        away.set()

    async def returned() -> None:
        back.set()

    async with PlainHub(tmp_path) as hub:
        client = await connect(
            hub.url, what="reach it", name="t", inbox_prefix="_INBOX.t", on_disconnected=gone, on_reconnected=returned
        )
        try:
            hub.kill()
            await asyncio.wait_for(away.wait(), 60)
            await hub.start()
            await asyncio.wait_for(back.wait(), 60)
            subscription = await client.subscribe("a")
            await client.publish("a", b"still there")
            assert (await subscription.next_msg(60)).data == b"still there"
        finally:
            await client.close()


async def test_a_one_shot_connection_stays_away(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def ended() -> None:
        closed.set()

    async with PlainHub(tmp_path) as hub:
        client = await connect(hub.url, what="reach it", name="t", inbox_prefix="_INBOX.t", reconnect=False, on_closed=ended)
        hub.kill()
        await asyncio.wait_for(closed.wait(), 60)
        with pytest.raises(Closed, match="cannot ask: the connection is closed"):
            await request(client, "a", what="ask")
        await client.close()


async def test_whoever_gives_up_waiting_for_the_end_does_not_end_the_wait_of_others(server: AccountsServer) -> None:
    """As when the server ends the connection just while it is closed here."""
    client = await server.connect("HUB")
    transport = client._transport
    first, second = [asyncio.create_task(transport.wait_closed()) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    await client.close()
    await second


async def test_who_lives_on_a_connection_is_told_when_the_server_ends_it_for_good(tmp_path: Path) -> None:
    """nats-py does not come back from most errors of the server's: here there is one connection too many."""
    clients: list[Client] = []
    told: list[Closed] = []

    async def connected(number: int) -> None:
        async def ended() -> None:
            told.append(link.why_closed(clients[number], "go on"))

        clients.append(await connect(hub.url, what="reach it", name="t", inbox_prefix="_INBOX.t", on_closed=ended))

    async with PlainHub(tmp_path) as hub:
        await connected(0)
        await connected(1)
        assert link.server_version(clients[0]) == binary.find().version
        with (tmp_path / "hub.conf").open("a") as config:
            config.write("max_connections: 1\n")
        ((pid, _),) = [(int(path.stem.rpartition("_")[2]), path) for path in tmp_path.glob("*.ports")]
        os.kill(pid, signal.SIGHUP)
        await until(lambda: bool(told), "one of them is ended")
        assert [client.is_connected for client in clients].count(True) == 1
        assert str(told[0]) == "cannot go on: the server closed the connection (maximum connections exceeded)"
        for client in clients:
            await client.close()
    assert [str(error) for error in told[1:]] == ["cannot go on: the connection is closed"]


async def test_requests(hub: Client, server: AccountsServer) -> None:
    other = await server.connect("HUB")

    async def echo(message: object) -> None:
        await message.respond(b"re: " + message.data)  # type: ignore[attr-defined]  # nats-py's message

    try:
        await other.subscribe("echo", cb=echo)
        await other.subscribe("deaf")
        await settle(other, what="settle")
        assert (await request(hub, "echo", b"hello", what="ask", timeout=60)).data == b"re: hello"
        with pytest.raises(Unreachable, match="cannot ask: nobody answers there"):
            await request(hub, "nobody", what="ask", timeout=60)
        with pytest.raises(Unreachable, match=re.escape("cannot ask: no answer within 0.05 s")):
            await request(hub, "deaf", what="ask", timeout=0.05)
        with pytest.raises(Failed, match="cannot ask"):
            await request(hub, "bad subject", what="ask")
    finally:
        await other.close()


# Reading what streams keep.


@pytest.fixture
async def kept(server: AccountsServer, hub: Client) -> Client:
    await server.make_stream("EDGE_REPORTS", "edge.from.*.report", "edge.from.*.heartbeat")
    for number in range(7):
        await hub.request(f"edge.from.pi-{number}.report", b"%d" % number)
    return hub


async def read(client: Client, subject: str) -> list[tuple[str, bytes]]:
    return [
        (item.subject.split(".")[2], item.data) async for item in direct.read_all(client, "EDGE_REPORTS", subject, prefix=PREFIX)
    ]


async def test_the_last_message_of_a_subject(kept: Client) -> None:
    await kept.request("edge.from.pi-1.report", b"newer")
    found = await direct.get_last(kept, "EDGE_REPORTS", "edge.from.pi-1.report", prefix=PREFIX)
    assert found and (found.data, found.sequence, found.subject) == (b"newer", 8, "edge.from.pi-1.report")
    assert await direct.get_last(kept, "EDGE_REPORTS", "edge.from.pi-9.report", prefix=PREFIX) is None


@pytest.mark.parametrize("batch", [1, 2, 6, 7, 8, 1000])
async def test_all_messages_whatever_the_page(kept: Client, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setitem(direct.PAGE, "batch", batch)
    assert await read(kept, "edge.from.*.report") == [(f"pi-{number}", b"%d" % number) for number in range(7)]


async def test_pages_end_also_at_their_size(kept: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        await kept.request(f"edge.from.pi-{number}.report", b"x" * 1000)
    monkeypatch.setitem(direct.PAGE, "max_bytes", 2500)
    assert [device for device, _ in await read(kept, "edge.from.*.report")] == [f"pi-{number}" for number in range(7)]


async def test_nothing_to_read(kept: Client) -> None:
    assert await read(kept, "edge.from.*.heartbeat") == []
    await kept.jetstream().purge_stream("EDGE_REPORTS")
    assert await read(kept, "edge.from.>") == []


@pytest.mark.parametrize("headers", [{"KV-Operation": "DEL"}, {"KV-Operation": "PURGE"}, {"Nats-Marker-Reason": "MaxAge"}])
async def test_what_was_deleted_is_not_there(kept: Client, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]) -> None:
    for number in (0, 3, 6):
        await kept.request(f"edge.from.pi-{number}.report", b"", headers=headers)
    monkeypatch.setitem(direct.PAGE, "batch", 2)
    assert [device for device, _ in await read(kept, "edge.from.*.report")] == ["pi-1", "pi-2", "pi-4", "pi-5"]
    assert await direct.get_last(kept, "EDGE_REPORTS", "edge.from.pi-6.report", prefix=PREFIX) is None


async def test_no_such_stream(kept: Client) -> None:
    with pytest.raises(EdgeError, match="cannot read a: the hub has no such stream, or these credentials may not read it"):
        [item async for item in direct.read_all(kept, "NONE", "a", prefix=PREFIX)]
    with pytest.raises(Unreachable, match="cannot read a: nobody answers there"):
        await direct.get_last(kept, "NONE", "a", prefix=PREFIX)


async def test_the_hubs_clock(kept: Client) -> None:
    found = await direct.get_last(kept, "EDGE_REPORTS", "edge.from.pi-6.report", prefix=PREFIX)
    assert found is not None
    assert found.time <= await direct.hub_time(kept, prefix=PREFIX)
    assert found.time > parse_rfc3339("2024-01-01T00:00:00Z")


async def test_an_account_without_the_stream_has_no_clock(kept: Client, server: AccountsServer) -> None:
    js = kept.jetstream()
    await js.delete_stream("EDGE_REPORTS")
    with pytest.raises(Failed, match=r"ask the hub for its time: stream not found\. Is `edgeagent hub up` running"):
        await direct.hub_time(kept, prefix=PREFIX)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"A:b\r\nNats-Subject: x.y\r\n\r\n",
        b" A : b : c \r\nno colon\r\nTwo words: x\r\n\xff: x\r\nB: \xff\r\n: x\r\nT\tab: 1\r\nSep\x1cx: 1\r\n",
        b"Status:404\r\nStatus:200\r\n",
    ],
    ids=["none", "plain", "strange", "twice"],
)
def test_headers_are_read_as_nats_py_reads_them(raw: bytes) -> None:
    theirs = Client._parse_header_lines(raw)
    theirs.pop("", None)  # a header without a name is of no use
    assert link._Connection._parse_header_lines(raw) == theirs
