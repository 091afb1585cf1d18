"""The MQTT client against listeners that are no brokers, or bad ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from edgeagent.bridge.mqttclient import MAX_UNACKED
from tests.support.mqttside import Ours
from tests.support.servers import until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(held, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


CONNACK = b"\x20\x02\x00\x00"


async def test_a_broker_that_acknowledges_nothing() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONNACK)
        while await reader.read(1000):
            pass

    async with listening(serve) as port, Ours(port, ack_seconds=0.3, queue=30) as ours:
        await ours.connected()
        assert [ours.client.publish("up/x", b"") for _ in range(40)].count(True) == 30
        await ours.problem("it acknowledges nothing")
        assert (ours.client.status().waiting, ours.client.status().sent) == (30, 0)


async def test_what_may_not_be_subscribed_is_named() -> None:
    """mosquitto 2.0 says of what it denies that it is granted; the leaf's own broker says the truth."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONNACK)
        await reader.readuntil(b"\x82\x16")  # SUBSCRIBE
        writer.write(b"\x90\x04" + await reader.readexactly(2) + b"\x01\x80")
        await reader.read(-1)

    async with listening(serve) as port, Ours(port) as ours:
        ours.client.subscribe({"open/#": 1, "secret/#": 1})
        await until(lambda: "does not let us subscribe to secret/#" in ours.why, "it is told")
        assert ours.client.status().connected


async def test_a_broker_that_reads_nothing_is_bounded_too() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONNACK)
        await asyncio.sleep(60)

    async with listening(serve) as port, Ours(port, queue=30, ack_seconds=2) as ours:
        await ours.connected()
        taken = [ours.client.publish("up/x", bytes(400_000), qos=0) for _ in range(80)]
        assert taken.count(False) >= 50
        await until(lambda: "acknowledges nothing" in ours.why or ours.client.status().waiting == 0, "it is given up")


async def test_a_broker_that_ignores_how_much_is_unacknowledged() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONNACK)
        for number in range(1, MAX_UNACKED + 101):
            writer.write(b"\x32\x06\x00\x01a" + number.to_bytes(2, "big") + b"x")
        await reader.read(-1)

    async with listening(serve) as port, Ours(port) as ours:
        ours.holds = True
        await until(lambda: ours.client.status().received == MAX_UNACKED + 100, "all came")
        assert len(ours.heard) == MAX_UNACKED and ours.client.status().dropped == 100
        for message in ours.heard:
            message.ack()
        await until(lambda: ours.client.status().received > MAX_UNACKED + 100, "what was missed comes on another connection")


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        CONNACK + b"\x30\x03\x00\xff\xff",
        CONNACK + b"\xff" * 100,
        b"\x20\x00",
        os.urandom(5000),
    ],
    ids=["http", "torn", "length", "empty-answer", "noise"],
)
async def test_what_is_no_mqtt_ends_the_connection_and_nothing_else(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with listening(serve) as port, Ours(port) as ours:
        await until(lambda: ours.why != "", "it has a problem")
        before = ours.client._connection
        await until(lambda: ours.client._connection > before + 1, "it tries again")


@pytest.mark.parametrize("code", [1, 2, 3, 5, 77], ids=str)
async def test_refusals_have_words(code: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x20\x02\x00" + bytes([code]))
        await reader.read(-1)

    async with listening(serve) as port, Ours(port) as ours:
        await until(lambda: "cannot reach the broker" in ours.why, "it says why")
