"""The demo's microcontroller: a program of its own behind a pseudo-terminal, in place of a board on a USB cable. It speaks what docs/wire.md says.

``python -m edgeagent.demo.greenhouse LINK``: LINK leads to its port while it runs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import secrets
import select
import sys
import time
import tty
from collections import deque
from pathlib import Path
from typing import Any

from edgeagent.bridge.frames import Decoder, encode

__all__ = ["ID", "Greenhouse", "main"]

ID = "greenhouse"
#: How often it measures, and how long it waits for an acknowledgement before it sends again, in seconds.
INTERVAL_SECONDS, AGAIN_SECONDS = 2.0, 1.0
#: Readings that it keeps, and sends before one is acknowledged.
RING, WINDOW = 500, 16


class Greenhouse:
    """What it does, without its port and its clock. write: takes bytes for the host."""

    def __init__(self, write: Any) -> None:
        self._write, self._decoder = write, Decoder()
        self._boot, self._seq, self._lost = secrets.token_hex(4), 0, 0
        self._ring: deque[tuple[int, float, dict[str, object]]] = deque()
        self._sent, self._heard = 0, 0.0
        self._done: dict[str, dict[str, object]] = {}
        self._led, self._interval, self._due = 0, INTERVAL_SECONDS, 0.0

    def feed(self, data: bytes, now: float) -> None:
        """The host wrote this."""
        for found in self._decoder.feed(data):
            if found.is_frame:
                self._obey(json.loads(found.data), now)

    def work(self, now: float) -> None:
        """Measure when it is time, and send what is due. now: of a clock that only goes on, in seconds."""
        if now >= self._due:
            self._due = now + self._interval
            self._measure(now)
        if self._sent > self._oldest and now - self._heard > AGAIN_SECONDS:
            self._sent, self._heard = self._oldest, now
        for seq, at, values in list(self._ring)[:WINDOW]:
            if seq >= self._sent:
                self._say({"t": "r", "b": self._boot, "s": seq, "o": self._oldest, "v": values, "a": int((now - at) * 1000)})
                self._heard = now if seq == self._oldest else self._heard
                self._sent = seq + 1

    @property
    def _oldest(self) -> int:
        return self._ring[0][0] if self._ring else self._seq + 1

    def _measure(self, now: float) -> None:
        self._seq += 1
        warmth = 21 + 4 * math.sin(now / 60) + (1.5 if self._led else 0)
        values: dict[str, object] = {"temperature": round(warmth, 2), "humidity": round(0.6 - warmth / 200, 3), "led": self._led}
        self._ring.append((self._seq, now, values))
        if len(self._ring) > RING:
            self._ring.popleft()
            self._lost += 1

    def _obey(self, said: dict[str, Any], now: float) -> None:
        kind = said.get("t")
        if kind == "hi":
            self._sent, self._heard = self._oldest, now
            about = {"id": ID, "fw": "1.2.0", "hw": "simulated", "acts": [{"a": "led", "sw": "on", "v": "led"}]}
            self._say({"t": "hello", **about, "b": self._boot, "seq": self._seq, "o": self._oldest, "lost": self._lost})
        elif kind == "ack" and said["b"] == self._boot:
            while self._ring and self._ring[0][0] <= said["s"]:
                self._ring.popleft()
            self._heard = now
        elif kind == "cmd":
            if said["id"] not in self._done:
                self._done[said["id"]] = self._command(said["a"], said.get("args", {}))
            self._say({"t": "res", "id": said["id"], **self._done[said["id"]]})
        elif kind == "cfg":
            with contextlib.suppress(TypeError, ValueError):
                self._interval = max(0.1, float(said.get("v", {}).get("interval_seconds", INTERVAL_SECONDS)))

    def _command(self, action: str, args: dict[str, Any]) -> dict[str, object]:
        if action != "led" or args.get("on") not in (0, 1):
            return {"ok": False, "why": "it knows led on=1 and led on=0"}
        self._led = int(args["on"])
        self._write(f"the lamp is {'on' if self._led else 'off'}\r\n".encode())
        return {"v": {"on": self._led}}

    def _say(self, message: dict[str, object]) -> None:
        self._write(encode(json.dumps(message, separators=(",", ":")).encode()))


def main(link: Path) -> None:
    """Be there until the process is ended."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)  # who does not listen does not stop it
    link.unlink(missing_ok=True)
    link.symlink_to(os.ttyname(slave))

    def write(data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(master, data)

    board = Greenhouse(write)
    write(b"greenhouse 1.2.0\r\n")
    while True:
        if select.select([master], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):
                board.feed(os.read(master, 4096), time.monotonic())
        board.work(time.monotonic())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
