"""MicroPython on a pseudo-terminal that behaves as a board's USB port: what is not interrupted goes through raw, 0x03 interrupts."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
import tty
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeagent.bridge import frames
from tests.support.micropython import HEAP, micropython

__all__ = ["BoardPty"]

_SECONDS = 20.0


class BoardPty:
    """``with BoardPty(script, environment, folder) as board``. lines: what it printed; messages: what it said in frames."""

    def __init__(self, script: Path, environment: dict[str, str], folder: Path) -> None:
        self._command = [micropython(), "-X", f"heapsize={HEAP}", str(script)]
        self._environment, self._folder = environment, folder
        self._decoder = frames.Decoder()
        self.lines: list[str] = []
        self.messages: list[dict[str, Any]] = []

    def __enter__(self) -> BoardPty:
        self.fd, its = pty.openpty()
        tty.setraw(its)
        mode = termios.tcgetattr(its)
        mode[3] |= termios.ISIG
        mode[6][termios.VINTR], mode[6][termios.VQUIT], mode[6][termios.VSUSP] = b"\x03", b"\0", b"\0"
        termios.tcsetattr(its, termios.TCSANOW, mode)
        self.process = subprocess.Popen(
            self._command,
            stdin=its,
            stdout=its,
            stderr=its,
            cwd=self._folder,
            env=self._environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(its)
        os.set_blocking(self.fd, False)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.fd)

    def say(self, message: dict[str, Any]) -> None:
        self.write(self.framed(message))

    @staticmethod
    def framed(message: dict[str, Any]) -> bytes:
        body = json.dumps(message).encode()
        return b"\x1e" + body + b"\t%08x\n" % zlib.crc32(body)

    def write(self, data: bytes) -> None:
        """All of it; what the board says meanwhile is read."""
        until = time.monotonic() + _SECONDS
        while data:
            assert time.monotonic() < until, "the board reads nothing"
            _, room, _ = select.select([self.fd], [self.fd], [], 0.1)
            self._read()
            if room:
                try:
                    data = data[os.write(self.fd, data[:512]) :]
                except BlockingIOError:
                    continue

    def until(self, is_so: Callable[[], Any]) -> Any:
        """What ``is_so`` gives once it is true."""
        until = time.monotonic() + _SECONDS
        while not (found := is_so()):
            assert time.monotonic() < until, (self.lines[-20:], self.messages[-5:])
            select.select([self.fd], [], [], 0.05)
            self._read()
        return found

    def message(self, **having: Any) -> dict[str, Any]:
        """The first message that has these values."""
        return self.until(lambda: next((each for each in self.messages if having.items() <= each.items()), None))

    def line(self, text: str) -> str:
        """The first line with this text."""
        return self.until(lambda: next((each for each in self.lines if text in each), None))

    def _read(self) -> None:
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # nothing there, or the process has ended
            return
        for found in self._decoder.feed(data):
            if found.is_frame:
                self.messages.append(json.loads(found.data))
            else:
                self.lines.append(found.data.decode(errors="replace"))
