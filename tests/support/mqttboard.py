"""A board by MQTT in a process of its own: the whole firmware as it is flashed, in MicroPython, with firmware/desktop for the hardware."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from edgeagent.demo.virtualboard import HEAP
from edgeagent.firmware import source
from tests.support.micropython import DESKTOP, micropython
from tests.support.servers import until

__all__ = ["COUNTER", "COUNTING", "MqttBoard", "running"]

WIFI = {"ssid": "workshop", "password": "w1f1secret", "country": "DE"}
#: A sensor of somebody's own: it counts, and each number is a reading at once, up to ``most``.
COUNTER = "lib/sensor_counter.py"
COUNTING = """
import world
from checks import whole
from sensors import kind

@kind("counter", most=(whole(1, 1000000), 1000000))
class Counter:
    def __init__(self, most):
        self.count, self.most = 0, most
    def changed(self, now):
        return self.count < self.most
    def read(self):
        if self.count < self.most:
            self.count += 1
            world.add("counted", ".")
        return {"": self.count}
"""
_UP, _DOWN = "connected to the broker", ("the connection to the broker ended", "cannot reach the broker")


class MqttBoard:
    """said: the lines that it printed. flash, world: folders with its files, and with what is around it."""

    def __init__(self, folder: Path) -> None:
        self.flash, self.world = folder / "flash", folder / "world"
        self.said: list[str] = []
        self.process: asyncio.subprocess.Process
        self.killed = False
        self._before: list[tuple[asyncio.subprocess.Process, asyncio.Task[None]]] = []

    def make(self, settings: dict[str, Any]) -> None:
        """Its flash and its world."""
        release = source.read()
        files = {f"a/{name}": data for name, data in {**release.files, "manifest.json": release.manifest}.items()}
        files |= {**source.read_root(), "slot.json": b'{"active": "a"}', COUNTER: COUNTING.encode()}
        for name, data in {**files, "settings.json": json.dumps(settings).encode()}.items():
            path = self.flash / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.world.mkdir()

    async def start(self) -> None:
        command = [micropython(), "-X", f"heapsize={HEAP}", str(DESKTOP / "launch.py"), str(self.flash), "main.py"]
        environment = {**os.environ, "EDGEAGENT_WORLD": str(self.world), "MICROPYPATH": ".frozen"}
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env=environment
        )
        self._reading = asyncio.create_task(self._read(self.process.stdout))

    async def end(self) -> None:
        for process, reading in [(self.process, self._reading), *self._before]:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await reading

    async def _read(self, stdout: asyncio.StreamReader | None) -> None:
        assert stdout
        async for line in stdout:
            self.said.append(line.decode().rstrip())

    @property
    def measured(self) -> int:
        return self._length("counted")

    def _length(self, name: str) -> int:
        path = self.world / name
        return path.stat().st_size if path.exists() else 0

    @property
    def up(self) -> bool:
        """As it said last."""
        told = [line for line in self.said if line.startswith((_UP, *_DOWN))]
        return bool(told) and told[-1].startswith(_UP)

    def has_said(self, words: str) -> bool:
        return any(words in each for each in self.said)

    async def says(self, words: str, *, after: int = 0) -> None:
        """after: how many lines it had said before."""
        await until(
            lambda: any(words in each for each in self.said[after:]), f"the board says {words!r}; it said {self.said[after:]}"
        )

    async def is_up(self, *, up: bool = True) -> None:
        await until(lambda: self.up is up, f"the board is {'up' if up else 'down'}; it said {self.said}")

    def be_on_air(self, radio: str) -> None:
        """up, noap: no access point is there, badpw: it has another password."""
        (self.world / "radio").write_text(radio)

    async def restart(self) -> None:
        """As after a reset: what is not in its flash is lost, and nobody ends its connection, which stands until it comes again."""
        self.process.send_signal(signal.SIGSTOP)
        self._before.append((self.process, self._reading))
        await self.start()

    def kill(self) -> None:
        self.killed = True
        self.process.kill()

    async def goes_on(self) -> None:
        """It measures, and its tasks live: else its watchdog would not be fed (that is what it tells its supervisor here)."""
        measured, told = self.measured, self._length("control")
        await until(lambda: self.measured > measured, "it measures")
        await until(lambda: self._length("control") > told, "its watchdog is fed")


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    mcu_id: str,
    port: int,
    *,
    count: int = 1_000_000,
    radio: str = "up",
    ca: str = "",
    clock: int = 0,
    sensor: str = COUNTING,
    **mqtt: object,
) -> AsyncIterator[MqttBoard]:
    """count: how many readings it measures, one each 10 ms. radio: see :meth:`MqttBoard.be_on_air`. ca: the file with the authority's
    certificate in DER form; empty: no TLS. clock: what its clock says at each start, in Unix seconds; 0: as this machine's. sensor: the
    program that measures. mqtt: more settings of the link."""
    made = {"host": "127.0.0.1", "port": port, "tls": bool(ca), "keepalive_seconds": 2, **mqtt}
    sensors = [{"kind": "counter", "name": "n", "most": count}]
    board = MqttBoard(folder)
    board.make({"id": mcu_id, "interval_seconds": 86400, "sensors": sensors, "wifi": WIFI, "mqtt": made})
    (board.flash / COUNTER).write_text(sensor)
    if clock:
        (board.world / "board.json").write_text(json.dumps({"clock": clock}))
    if ca:
        (board.flash / "ca.der").write_bytes(Path(ca).read_bytes())
    board.be_on_air(radio)
    await board.start()
    try:
        yield board
        assert board.killed or board.process.returncode is None, f"the board ended; it said {board.said}"
        assert not any(each in line for line in board.said for each in ("Traceback", WIFI["password"])), board.said
    finally:
        await board.end()
