"""A way to a server on which an acknowledgement gets lost: what was asked for has been done, and nobody hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

__all__ = ["Lossy"]


class Lossy:
    """Carries TCP connections to ``port`` of this machine. Use it as an async context manager; it listens on ``self.port``.

    stream: that of JetStream whose acknowledgement (``PubAck``) is lost, with the connection. after: so many come through before.
    for_good: nothing is carried any more then. on_loss: called instead of losing it, as the acknowledgement comes by.
    ``lost`` counts those that were.
    """

    def __init__(
        self, port: int, stream: str, *, after: int = 0, for_good: bool = False, on_loss: Callable[[], None] | None = None
    ) -> None:
        self._target, self._mark = port, f'"stream":"{stream}"'.encode()
        self._after, self._for_good, self._on_loss = after, for_good, on_loss
        self._open: set[asyncio.Task[None]] = set()
        self.port = self.lost = 0

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Lossy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        far_writer = None
        try:
            if self._for_good and self.lost:
                return
            far, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            ways = [asyncio.ensure_future(self._up(reader, far_writer)), asyncio.ensure_future(self._down(far, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # the server is away
        finally:
            for each in (writer, far_writer):
                if each is not None:
                    each.transport.abort()
            self._open.discard(task)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An acknowledgement is small, and comes in one piece."""
        while data := await reader.read(1 << 16):
            if self._mark in data and not self.lost:
                self._after -= data.count(self._mark)
                if self._after < 0:
                    self.lost += 1
                    if self._on_loss is None:
                        return
                    self._on_loss()
            writer.write(data)
            await writer.drain()
