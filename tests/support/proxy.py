"""An HTTP proxy that does CONNECT and nothing else, as networks have it that let only HTTPS out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from types import TracebackType

__all__ = ["Proxy"]


class Proxy:
    """Listens on 127.0.0.1. login: ``user:password`` that it asks for; empty: none. Use it as an async context manager.

    ``tunnels`` counts those that were opened, ``refused`` those that lacked the login, ``targets`` has what was asked for.
    """

    def __init__(self, login: str = "") -> None:
        self._wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""
        self._open: set[asyncio.Task[None]] = set()
        self.tunnels, self.refused, self.targets = 0, 0, list[str]()
        self.is_cut = False
        self.port = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """End every tunnel and open no more until :meth:`restore`."""
        self.is_cut = True
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def restore(self) -> None:
        self.is_cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._tunnel(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # cut, or one end hung up
        finally:
            writer.close()
            self._open.discard(task)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        verb, target, _ = head[0].split(" ")
        headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in head[1:] if line)}
        if self.is_cut or verb != "CONNECT":
            return
        if headers.get("proxy-authorization", "") != self._wanted:
            self.refused += 1
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        self.targets.append(target)
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
        self.tunnels += 1
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ways = [asyncio.ensure_future(_copy(reader, far_writer)), asyncio.ensure_future(_copy(far_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
