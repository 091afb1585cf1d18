"""A cable that can be pulled: a TCP proxy on the loopback interface, to try what happens when the link to the hub is gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from enum import Enum

__all__ = ["Cable", "CableState"]

HOST = "127.0.0.1"
#: What is read at once, and how much may wait for a slow receiver before its sender has to wait too, in bytes.
CHUNK_BYTES = 64 << 10


class CableState(str, Enum):
    """up: carries. cut: connections are closed and new ones refused. silent: everything looks connected and nothing arrives."""

    UP = "up"
    CUT = "cut"
    SILENT = "silent"


class Cable:
    """Carries connections from ``port`` on this machine to ``target``.

    target: ``(host, port)`` of the far end; may be set anew at any time, for connections to come. Nothing need listen there yet: a
    connection is then closed at once, and the next one tried anew.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.state = CableState.UP
        #: How long everything is on its way, in seconds, each way; for what comes from then on.
        self.delay_seconds = 0.0
        self.port = 0
        #: Bytes carried towards the target and back, and bytes lost while silent, both ways together.
        self.bytes_out = self.bytes_back = self.bytes_lost = 0
        self._held: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._carrying: dict[asyncio.Task[None], _Connection] = {}

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._carrying)

    async def start(self) -> None:
        """Take a free port (:attr:`port`) and listen there."""
        # A bound socket that does not listen keeps the port ours, and refuses connections, while the cable is cut.
        self._held = _bound(0)
        self.port = self._held.getsockname()[1]
        await self._listen()

    async def cut(self, *, silent: bool = False) -> None:
        """Pull the cable.

        silent: as a pulled cable really is: nobody is told, bytes vanish. False: connections are closed, new ones refused.
        """
        if silent:
            self.state = CableState.SILENT
            await self._listen()
            return
        self.state = CableState.CUT
        self._refuse()
        await self._abort(self._carrying)

    async def restore(self) -> None:
        """Plug it in again. Connections that lost bytes are closed: a stream with a hole is worse than none."""
        self.state = CableState.UP
        await self._abort([task for task, connection in self._carrying.items() if connection.has_hole])
        await self._listen()

    async def close(self) -> None:
        """End everything; the cable can't be used again."""
        self.state = CableState.CUT
        self._refuse()
        await self._abort(self._carrying)
        if self._held is not None:
            self._held.close()
            self._held = None

    async def _listen(self) -> None:
        if self._server is None and self._held is not None:
            self._server = await asyncio.start_server(self._accepted, sock=_bound(self.port), limit=CHUNK_BYTES)

    def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _abort(self, tasks: dict[asyncio.Task[None], _Connection] | list[asyncio.Task[None]]) -> None:
        ending = list(tasks)
        for task in ending:
            self._carrying[task].abort()
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.state is CableState.CUT:
            writer.transport.abort()
            return
        connection = _Connection(self, reader, writer)
        task = asyncio.create_task(connection.carry(), name="cable connection")
        self._carrying[task] = connection
        task.add_done_callback(self._carrying.pop)


class _Connection:
    """One connection: two one-way streams with a shared end."""

    def __init__(self, cable: Cable, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._cable, self._reader, self._writer = cable, reader, writer
        self._far: asyncio.StreamWriter | None = None
        self.has_hole = False

    def abort(self) -> None:
        """Close both ends at once, whatever is still on its way."""
        for writer in (self._writer, self._far):
            if writer is not None:
                writer.transport.abort()

    async def carry(self) -> None:
        """Carry until both ways are closed, or one breaks."""
        try:
            if self._cable.state is CableState.SILENT:
                await self._swallow(self._reader)
            else:
                await self._both_ways()
        except OSError:
            pass  # nothing listens at the target, or one end was reset: the other end shall see that too
        finally:
            self.abort()

    async def _both_ways(self) -> None:
        back, far = await asyncio.open_connection(*self._cable.target, limit=CHUNK_BYTES)
        self._far = far
        ways = [asyncio.ensure_future(self._way(self._reader, far)), asyncio.ensure_future(self._way(back, self._writer))]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        for writer in (far, self._writer):
            writer.close()
            await writer.wait_closed()

    async def _way(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                if self._cable.state is CableState.SILENT:
                    return await self._swallow(source, len(data))
                self._count(sink, len(data))
                await self._pass_on(sink, data)
        except OSError:
            if self._cable.state is not CableState.SILENT:
                raise
        if self._cable.state is CableState.SILENT:
            return await self._swallow(source)
        await asyncio.sleep(self._cable.delay_seconds)  # what was sent before comes before
        sink.write_eof()
        return None

    async def _pass_on(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        if self._cable.delay_seconds:
            asyncio.get_running_loop().call_later(self._cable.delay_seconds, sink.write, data)
        else:
            sink.write(data)
            await sink.drain()

    def _count(self, sink: asyncio.StreamWriter, size: int) -> None:
        if sink is self._far:
            self._cable.bytes_out += size
        else:
            self._cable.bytes_back += size

    async def _swallow(self, source: asyncio.StreamReader, lost: int = 0) -> None:
        """Lose ``lost`` bytes and all that follows, its end included, until the task is cancelled."""
        self.has_hole = True
        self._cable.bytes_lost += lost
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                self._cable.bytes_lost += len(data)
        await asyncio.get_running_loop().create_future()


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # one holds the port while the other comes and goes
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, port))
    return bound
