"""The two ends of a virtual Pico: the port that a host opens, and the process of MicroPython behind it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path

from edgeagent.firmware import source

__all__ = ["Board", "Program", "find_micropython"]

#: What a Pico W has with Wi-Fi, 200 KB, by how much larger the objects of the 64-bit port are (1.45 as measured with this firmware).
HEAP = "288k"
#: What the USB port holds of what its program does not read, and how long it waits for a host that reads nothing, in bytes and seconds.
INPUT_BYTES, DROP_SECONDS = 512, 0.5
_CHUNK = 4096
_CTRL_A, _CTRL_B = 1, 2
_LFLAG, _CC = 3, 6


def find_micropython() -> str:
    """The interpreter's path; empty if there is none."""
    beside = Path(sys.executable).with_name("micropython")
    return os.environ.get("EDGEAGENT_MICROPYTHON", "") or (str(beside) if beside.exists() else shutil.which("micropython") or "")


class Program:
    """MicroPython, started anew with every reset."""

    def __init__(self, micropython: str, folder: Path, world: Path, serial_number: str) -> None:
        self._argv = [micropython, "-X", f"heapsize={HEAP}", "-i", str(source.folder() / "desktop" / "launch.py"), str(folder)]
        self._environment = {**os.environ, "EDGEAGENT_WORLD": str(world), "MICROPYPATH": ".frozen"}
        if serial_number:
            self._environment["EDGEAGENT_UNIQUE_ID"] = serial_number
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cause: str, *, raw: bool) -> int:
        """Returns our end of its terminal."""
        ours, its = pty.openpty()
        _obeys_ctrl_c(its)
        programs = ["boot.py"] if raw else ["boot.py", "main.py"]
        environment = {**self._environment, "EDGEAGENT_BOOT": cause}
        self._process = subprocess.Popen(
            [*self._argv, *programs],
            stdin=its,
            stdout=its,
            stderr=its,
            env=environment,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(its)
        return ours

    def ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


class Board:
    """What goes between ``link`` and the program. is_raw: the host has it in the raw REPL."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self._port: tuple[int, int] | None = None
        self._terminal: int | None = None
        self._down, self._up, self._since = b"", b"", 0.0
        self.is_raw = False

    @property
    def is_plugged(self) -> bool:
        return self._port is not None

    def plug(self) -> None:
        master, slave = self._port = pty.openpty()
        tty.setraw(slave)  # it is kept open: who opens and closes it hangs nothing up
        os.set_blocking(master, False)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.ttyname(slave))

    def unplug(self) -> None:
        self._detach()
        self._link.unlink(missing_ok=True)
        for each in self._port or ():
            os.close(each)
        self._port, self._up = None, b""

    def attach(self, terminal: int, *, raw: bool) -> None:
        """To a program that was started."""
        self._detach()
        os.set_blocking(terminal, False)
        self._terminal, self.is_raw = terminal, raw
        self._down = bytes([_CTRL_A]) if raw else b""

    def reading(self) -> list[int]:
        """What to watch: no more is taken than there is room for on the other side."""
        host = [self._port[0]] if self._port and len(self._down) < INPUT_BYTES else []
        return host + ([self._terminal] if self._terminal is not None and not self._up else [])

    def writing(self) -> list[int]:
        host = [self._port[0]] if self._port and self._up else []
        return host + ([self._terminal] if self._terminal is not None and self._down else [])

    def carry(self, ready: list[int]) -> None:
        """Take what is ready, and hand on what there is room for."""
        if self._port and self._port[0] in ready:
            said = _read(self._port[0])
            for byte in said:
                self.is_raw = byte == _CTRL_A or (self.is_raw and byte != _CTRL_B)
            self._down += said
        if self._terminal is not None and self._terminal in ready:
            self.say(_read(self._terminal))
        if self._terminal is not None:
            self._down = _write(self._terminal, self._down)
        self._flush()

    def say(self, data: bytes) -> None:
        """To the host."""
        if data and not self._up:
            self._since = time.monotonic()
        self._up += data
        self._flush()

    def rest(self) -> None:
        """What an ended program said last."""
        while self._terminal is not None and (data := _read(self._terminal)):
            self.say(data)

    def _flush(self) -> None:
        before = len(self._up)
        if self._port:
            self._up = _write(self._port[0], self._up)
        if len(self._up) < before:
            self._since = time.monotonic()
        elif self._up and time.monotonic() - self._since > DROP_SECONDS:
            self._up = b""  # as MicroPython does with a host that does not read

    def _detach(self) -> None:
        if self._terminal is not None:
            os.close(self._terminal)
        self._terminal, self._down = None, b""


def _obeys_ctrl_c(terminal: int) -> None:
    """Raw, but for Ctrl-C: that interrupts whatever runs, as by USB."""
    tty.setraw(terminal)
    settings = termios.tcgetattr(terminal)
    settings[_LFLAG] |= termios.ISIG
    settings[_CC][termios.VINTR] = b"\x03"
    settings[_CC][termios.VQUIT] = settings[_CC][termios.VSUSP] = b"\0"
    termios.tcsetattr(terminal, termios.TCSANOW, settings)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:  # nothing there, or its other end is gone
        return b""


def _write(descriptor: int, data: bytes) -> bytes:
    """Returns what had no room."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]
    return data
