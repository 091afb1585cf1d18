"""A microcontroller without hardware: a real process that speaks the board's side of docs/wire.md, on a pseudo-terminal that can be plugged in.

The program knows nothing of our code: its frames are made as that page says. :class:`Cable` is the USB cable, also a bad one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import random
import select
import signal
import socket
import subprocess
import sys
import time
import tty
import zlib
from collections import deque
from pathlib import Path
from typing import Any

__all__ = ["Cable", "VirtualMcu", "frame"]

WINDOW, AGAIN_SECONDS = 16, 0.4


def frame(message: dict[str, Any]) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    return b"\x1e" + body + b"\t%08x\n" % zlib.crc32(body)


class Cable:
    """A pseudo-terminal: ``plug`` makes ``link`` lead to it, ``unplug`` hangs it up.

    torn: which part of what is read from the microcontroller loses its end. lost_acks: which part of the acknowledgements gets lost.
    heard: what the host wrote; the newest of it.
    """

    def __init__(self, *, torn: float = 0.0, lost_acks: float = 0.0, seed: int = 1) -> None:
        self.torn, self.lost_acks = torn, lost_acks
        self.heard = bytearray()
        self.on_heard: Any = lambda data: None
        self._random, self._rest = random.Random(seed), b""
        self._fds: tuple[int, int] | None = None
        self._link: Path | None = None

    @property
    def name(self) -> str:
        assert self._fds
        return os.ttyname(self._fds[1])

    def plug(self, link: Path | None = None) -> str:
        master, slave = self._fds = pty.openpty()
        tty.setraw(slave)  # it is kept open: who opens and closes it hangs nothing up
        os.set_blocking(master, False)
        asyncio.get_running_loop().add_reader(master, self._read)
        self._link = link
        if link:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(self.name)
        return self.name

    def unplug(self) -> None:
        if self._fds:
            asyncio.get_running_loop().remove_reader(self._fds[0])
            if self._link:
                self._link.unlink(missing_ok=True)
            for each in self._fds:
                os.close(each)
            self._fds = None

    def say(self, data: bytes) -> int:
        """Of the microcontroller; what nobody reads is lost. Returns how many bytes had room."""
        if self.torn and self._random.random() < self.torn:
            data = data[: self._random.randrange(len(data))]
        if not self._fds or not data:
            return 0
        try:
            return os.write(self._fds[0], data)
        except BlockingIOError:
            return 0

    async def say_all(self, data: bytes) -> None:
        """Of one that waits until there is room."""
        while data:
            data = data[self.say(data) :]
            await asyncio.sleep(0)

    def _read(self) -> None:
        assert self._fds
        try:
            data = os.read(self._fds[0], 4096)
        except OSError:
            return
        self.heard += data
        del self.heard[:-65536]
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not (b'"t":"ack"' in line and self._random.random() < self.lost_acks):
                self.on_heard(line + b"\n")


class VirtualMcu:
    """The process behind ``cable``. ``async with VirtualMcu(...) as mcu``; ``reset`` starts it anew. What it did is in ``did``.

    options: of :func:`main`.
    """

    def __init__(self, folder: Path, mcu_id: str, cable: Cable, **options: Any) -> None:
        self.id, self.cable = mcu_id, cable
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"{mcu_id}.did"
        self._log.touch()
        self._options = {"id": mcu_id, "log": str(self._log), **options}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    async def __aenter__(self) -> VirtualMcu:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        self.cable.unplug()

    def start(self) -> None:
        mine, its = socket.socketpair()
        mine.setblocking(False)
        self._process = subprocess.Popen([sys.executable, __file__, json.dumps(self._options)], stdin=its, stdout=its)
        its.close()
        self._socket = mine
        asyncio.get_running_loop().add_reader(mine, self._said)
        self.cable.on_heard = self._heard

    def reset(self, **options: Any) -> None:
        """Pull its power and give it back: what was in its ring is gone."""
        self.kill()
        self._options.update(options)
        self.start()

    def signal(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process and self._socket:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._socket.close()
            self._process = self._socket = None

    def did(self, what: str) -> list[tuple[str, int]]:
        """``made``, ``dropped``: boots and numbers; ``ran``: commands and how often."""
        words = [line.split() for line in self._log.read_text().splitlines()]
        return [(boot, int(number)) for kind, boot, number in words if kind == what]

    def _said(self) -> None:
        assert self._socket
        with contextlib.suppress(OSError):
            data = self._socket.recv(4096)
            if data:
                self.cable.say(data)
            else:
                asyncio.get_running_loop().remove_reader(self._socket)

    def _heard(self, data: bytes) -> None:
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.send(data)


class _Board:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.boot = os.urandom(4).hex()
        self.seq = self.lost = 0
        self.ring: deque[tuple[int, float]] = deque()
        self.acked = self.next = 0
        self.progress = 0.0
        self.answers: dict[str, dict[str, Any]] = {}
        self.greeted = False

    @property
    def oldest(self) -> int:
        return self.ring[0][0] if self.ring else self.seq + 1

    def note(self, kind: str, word: str, number: int) -> None:
        with Path(self.options["log"]).open("a") as log:
            log.write(f"{kind} {word} {number}\n")

    def measure(self) -> None:
        self.seq += 1
        self.ring.append((self.seq, time.monotonic()))
        self.note("made", self.boot, self.seq)
        if len(self.ring) > self.options.get("ring", 1000):
            self.note("dropped", self.boot, self.ring.popleft()[0])
            self.lost += 1

    def heard(self, line: bytes) -> None:
        body = line.rpartition(b"\x1e")[2].rstrip(b"\n")
        text, crc = body[:-9], body[-8:]
        if crc != b"%08x" % zlib.crc32(text):
            return
        said = json.loads(text)
        kind = said["t"]
        if kind == "hi":
            self.greeted = True
            self.next, self.progress = self.oldest, time.monotonic()
            self.hello()
        elif kind == "ack" and said["b"] == self.boot and said["s"] > self.acked:
            self.acked, self.progress = said["s"], time.monotonic()
            while self.ring and self.ring[0][0] <= self.acked:
                self.ring.popleft()
        elif kind == "cmd":
            self.command(said)

    def hello(self) -> None:
        name = self.options.get("says", self.options["id"])
        about = {"fw": self.options.get("fw", "1.0.0"), "hw": "virtual", "acts": ["led"]}
        self.say({"t": "hello", "id": name, "b": self.boot, "seq": self.seq, "o": self.oldest, "lost": self.lost, **about})

    def command(self, said: dict[str, Any]) -> None:
        answer = self.answers.get(said["id"])
        if answer is None:
            known = said["a"] == "led"
            if known:
                self.note("ran", said["id"], 1)
            answer = {"t": "res", "id": said["id"], "ok": known, "v": said.get("args"), "why": "" if known else "no such command"}
            self.answers[said["id"]] = answer
        self.say(answer)

    def send(self) -> None:
        """Go-back-N: whatever has no acknowledgement in time is sent again, and what follows it."""
        now = time.monotonic()
        if self.ring and self.next > self.oldest and now - self.progress > AGAIN_SECONDS:
            self.next, self.progress = self.oldest, now
        if self.next < self.oldest:
            self.next = self.oldest
        for seq, at in list(self.ring):
            if seq < self.next or seq >= self.oldest + WINDOW:
                continue
            if self.next == self.oldest:
                self.progress = now
            age = round((now - at) * 1000)
            value = {"n": seq, "on": seq % 2 == 0, "boot": self.boot}
            self.say({"t": "r", "b": self.boot, "s": seq, "o": self.oldest, "v": value, "a": age})
            self.next = seq + 1
            if seq % 10 == 0:
                self.write(b"a print, number %d\r\n" % seq)

    def say(self, message: dict[str, Any]) -> None:
        self.write(frame(message))

    def write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(1, data)


def main() -> None:
    """id, log (a file). count: of readings. interval: in seconds. ring: readings that are kept. fw. says: another id."""
    board = _Board(json.loads(sys.argv[1]))
    os.set_blocking(1, False)
    interval, due, rest = board.options.get("interval", 0.02), time.monotonic(), b""
    board.write(b'MicroPython v1.28.0\r\nType "help()" for more information.\r\n>>> ')
    board.hello()
    while True:
        ready, _, _ = select.select([0], [], [], min(interval, 0.05))
        if ready:
            data = os.read(0, 4096)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                board.heard(line)
        if board.seq < board.options.get("count", 0) and time.monotonic() >= due:
            board.measure()
            due = max(due + interval, time.monotonic() - 1)
        if board.greeted:
            board.send()


if __name__ == "__main__":
    main()
