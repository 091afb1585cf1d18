"""A broker that does what a test says, at a free port, on either interpreter."""

import asyncio
import os

import packets

CONNACK = b"\x20\x02\x00\x00"


async def until(condition, seconds=20):
    for _ in range(seconds * 100):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("still not true")


async def stopped(task):
    """Cancel it until it has ended: CPython 3.11's wait_for may lose a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.sleep(0.01)


class Broker:
    """serve(peer) is run for each connection. ``async with Broker(serve) as broker``. peers: all that came."""

    def __init__(self, serve):
        self._serve, self.peers, self.error = serve, [], None

    async def __aenter__(self):
        for _ in range(100):
            self.port = 20000 + int.from_bytes(os.urandom(2), "big") % 12000
            try:
                self._server = await asyncio.start_server(self._came, "127.0.0.1", self.port)
                return self
            except OSError:  # it is taken
                pass
        raise AssertionError("no free port")

    async def __aexit__(self, *_):
        self._server.close()
        if self.error is not None:
            raise self.error

    async def _came(self, reader, writer):
        peer = Peer(reader, writer)
        self.peers.append(peer)
        try:
            await self._serve(peer)
        except (OSError, EOFError, asyncio.CancelledError):  # the test is over
            pass
        except Exception as error:
            self.error = error
        writer.close()
        try:
            await writer.wait_closed()
        except (OSError, asyncio.CancelledError):
            pass


class Peer:
    """heard: the packets that came, as (first byte, body)."""

    def __init__(self, reader, writer):
        self._reader, self._writer, self.heard = reader, writer, []

    async def packet(self):
        first, length = await self._reader.readexactly(2)
        shift, low = 7, length
        length &= 0x7F
        while low & 0x80:
            low = (await self._reader.readexactly(1))[0]
            length |= (low & 0x7F) << shift
            shift += 7
        found = first, await self._reader.readexactly(length) if length else b""
        self.heard.append(found)
        return found

    async def say(self, data, piece=0):
        """piece: in pieces of so many bytes, which arrive one by one."""
        for at in range(0, len(data), piece or len(data)):
            self._writer.write(data[at : at + (piece or len(data))])
            await self._writer.drain()
            if piece:
                await asyncio.sleep(0)

    async def welcome(self, piece=0):
        """CONNECT and SUBSCRIBE, as a broker answers."""
        assert (await self.packet())[0] == 0x10
        await self.say(CONNACK, piece)
        first, body = await self.packet()
        assert first == 0x82
        await self.say(packets.packet(packets.SUBACK, body[:2], b"\0"), piece)

    async def hold(self):
        """Read for ever."""
        while True:
            await self.packet()

    async def nothing(self):
        """Read and say nothing, until the other ends it."""
        while await self._reader.read(1000):
            pass
