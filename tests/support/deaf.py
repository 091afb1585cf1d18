"""A way to a server on which one direction can be swallowed: what was asked for is done, and nobody hears of it; or it is never heard."""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Deaf"]


class Deaf:
    """Carries TCP connections to ``port`` of this machine; it listens on ``self.port``. Use it as an async context manager.

    While ``deaf`` is set, what the server says is thrown away; while ``mute`` is, what it is told. Nobody's connection ends for it.
    :meth:`cut` ends those that there are, and carries again; a stream of bytes with a hole in it is of no use to anybody. ``connections``
    counts all that there ever were.
    """

    def __init__(self, port: int) -> None:
        self._target, self.deaf, self.mute, self.port, self.connections = port, False, False, 0, 0
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Deaf:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """End every connection, and hear again."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self.deaf = self.mute = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        writers = [writer]
        try:
            far, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(far_writer)
            await asyncio.gather(self._carry(reader, far_writer, down=False), self._carry(far, writer, down=True))
        except OSError:
            pass  # the server is away
        finally:
            for each in writers:
                each.transport.abort()
            self._open.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        while data := await reader.read(1 << 16):
            if not (self.deaf if down else self.mute):
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError
