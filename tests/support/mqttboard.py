"""A board by MQTT in a process of its own: MicroPython runs the firmware's link (tests/firmware/mqttboard.py)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.micropython import APP, HEAP, environment, micropython
from tests.support.servers import until

__all__ = ["MqttBoard", "running"]

PROGRAM = Path(__file__).parents[1] / "firmware" / "mqttboard.py"


class MqttBoard:
    """said: its lines of the log. now: how it was a moment ago: up, measured, kept, beats, done."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []
        self.now: dict[str, Any] = {"up": False, "measured": 0, "beats": 0, "done": 0}
        self.killed = False

    async def read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            found = json.loads(line)
            if "said" in found:
                self.said.append(found["said"])
            else:
                self.now = found

    def has_said(self, words: str) -> bool:
        return any(words in each for each in self.said)

    async def says(self, words: str) -> None:
        await until(lambda: self.has_said(words), f"the board says {words!r}; it said {self.said}")

    async def is_up(self, *, up: bool = True) -> None:
        await until(lambda: self.now["up"] is up, f"the board is {'up' if up else 'down'}; it said {self.said}")

    def kill(self) -> None:
        self.killed = True
        self.process.kill()

    async def goes_on(self) -> None:
        """It measures, and its tasks live."""
        before = dict(self.now)
        await until(lambda: self.now["beats"] > before["beats"], "it beats")
        await until(lambda: self.now["measured"] > before["measured"], "it measures")


@contextlib.asynccontextmanager
async def running(mcu_id: str, port: int, *, count: int = 1_000_000, **mqtt: object) -> AsyncIterator[MqttBoard]:
    """count: how many readings it measures, one each 10 ms. mqtt: more settings of the link."""
    settings = {"id": mcu_id, "mqtt": {"host": "127.0.0.1", "port": port, "keepalive_seconds": 1, **mqtt}}
    command = [micropython(), "-X", f"heapsize={HEAP}", str(PROGRAM), json.dumps(settings), str(count)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment(APP))
    board = MqttBoard(process)
    reading = asyncio.create_task(board.read())
    try:
        yield board
        assert board.killed or process.returncode is None, f"the board ended; it said {board.said}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading
