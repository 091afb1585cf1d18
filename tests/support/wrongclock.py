"""A device whose clock was wrong: what its leaf stamped before a moment is shown as many days earlier.

No test may set this machine's clock, and nats-server (Go) asks the kernel without the C library, so nothing can lie to it. So it stamps
rightly, and the lie is told on the way: between the leaf and whoever reads there, stamps of before the step are moved back. All else is
real: the stream, its sequences, the scan at the step, and what is made of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone

from edgeagent.natsserver import ports

__all__ = ["WrongClock"]

#: Days, not seconds: the text of a stamp keeps its length.
_STAMP = re.compile(rb"(Nats-Time-Stamp: )(\d{4}-\d\d-\d\d)(T[0-9:]{8}(?:\.\d+)?Z\r\n)")
_BEGINNING = b"Nats-Time-Stamp: "


class WrongClock:
    """days: by how much the clock is behind until :meth:`step`."""

    def __init__(self, days: int) -> None:
        self._days = days
        self._stepped: float | None = None

    def step(self) -> None:
        """It is set right."""
        self._stepped = time.time()

    def clocks(self) -> tuple[int, int]:
        """As :func:`edgeagent.patterns.clocksteps.read_clocks`, by this clock."""
        behind = self._days * 86_400_000_000_000 if self._stepped is None else 0
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns() - behind

    def shown(self, text: bytes) -> bytes:
        """What a reader sees of the leaf's answers."""
        return _STAMP.sub(self._moved, text)

    def _moved(self, found: re.Match[bytes]) -> bytes:
        text = found[2].decode() + re.sub(r"\.(\d{1,6})\d*", lambda part: "." + part[1].ljust(6, "0"), found[3].decode().strip())
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        if self._stepped is not None and moment.timestamp() >= self._stepped:
            return found[0]
        day = (moment.astimezone(timezone.utc) - timedelta(days=self._days)).strftime("%Y-%m-%d")
        return found[1] + day.encode() + found[3]

    @contextlib.asynccontextmanager
    async def in_front_of(self, port: int) -> AsyncIterator[str]:
        """The address of the leaf at ``port`` for those who live by this clock."""
        tasks: set[asyncio.Task[None]] = set()

        async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, away = await asyncio.open_connection(ports.HOST, port)
            for source, target, change in ((reader, away, None), (there, writer, self)):
                tasks.add(asyncio.create_task(_pump(source, target, change)))

        server = await asyncio.start_server(taken, ports.HOST, 0)
        try:
            yield f"nats://{ports.HOST}:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, clock: WrongClock | None) -> None:
    held = b""
    while data := await source.read(1 << 16):
        data = held + data
        # A stamp that is cut in two waits for its rest; every message ends with a line.
        line = data[data.rfind(b"\n") + 1 :]
        held = line if clock and (_BEGINNING.startswith(line) or line.startswith(_BEGINNING)) else b""
        data = data[: len(data) - len(held)]
        target.write(clock.shown(data) if clock else data)
    target.close()
