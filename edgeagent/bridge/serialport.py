"""One serial port, open: what comes is handed on, what is written never waits, and its end is told at once.

pyserial sets it up; the event loop then watches its file descriptor, so there is no thread, and nothing is asked all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import os
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeagent.errors import EdgeError, Failed, Refused, Unreachable
from edgeagent.machine import Machine

__all__ = ["MAX_UNSENT_BYTES", "SerialPort", "group", "holder", "set_up"]

#: What one turn of the loop reads, in bytes: what the kernel keeps of a terminal's input.
READ_BYTES = 4096
#: What waits to be written, in bytes; MicroPython takes 512, and a microcontroller that is stuck takes nothing.
MAX_UNSENT_BYTES = 8192
#: What is read of one that floods: so many bytes in so many seconds. A Pico sends a third of it at most (100 readings a second).
WINDOW_BYTES, WINDOW_SECONDS = 16 << 10, 0.1
#: After so long without room it is stuck, and so long after it sent too much it is said to flood, in seconds.
STUCK_SECONDS, FLOOD_SECONDS = 5.0, 3.0
#: The indices of termios.tcgetattr's list.
_CFLAG, _CC = 2, 6


def set_up(path: str, baud: int, *, reset_on_open: bool, machine: Machine) -> Any:
    """Open ``path`` for us alone, raw, with DTR on: a Pico drops what it prints while that is off. It may take a second, so use a thread.

    Returns pyserial's Serial. Raises EdgeError, which says who else has it where the kernel shows that.
    """
    import serial

    what = f"open {path}"
    opened = None
    try:
        opened = serial.Serial(path, baud, timeout=0, exclusive=True)
        _tune(opened.fileno(), reset_on_open=reset_on_open)
        return opened
    except (OSError, termios.error) as error:  # pyserial's own are OSErrors, and it lets termios' through
        problem = _problem(what, path, error, machine)
    except ValueError as error:  # pyserial's word for a speed that the driver does not know
        problem = Refused(what, str(error), "set another `baud`")
    if opened:
        opened.close()
    raise problem


def _tune(descriptor: int, *, reset_on_open: bool) -> None:
    """A read without data must not look like the end (VMIN 0 makes it so); without HUPCL DTR stays on when the port is closed."""
    settings = termios.tcgetattr(descriptor)
    settings[_CC][termios.VMIN] = 1
    settings[_CFLAG] = settings[_CFLAG] | termios.HUPCL if reset_on_open else settings[_CFLAG] & ~termios.HUPCL
    termios.tcsetattr(descriptor, termios.TCSANOW, settings)


def _problem(what: str, path: str, error: Exception, machine: Machine) -> EdgeError:
    number = error.errno if isinstance(error, OSError) else error.args[0]
    if number in (errno.EWOULDBLOCK, errno.EBUSY):
        who = holder(path, machine)
        return Refused(what, f"{who or 'another program'} uses it", "end that; the agent tries again by itself")
    if number in (errno.EACCES, errno.EPERM):
        return Refused(what, "this user may not", f"let it into the group {group(path)}, and restart the agent")
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO):
        return Unreachable(what, "it was unplugged")
    return Failed(what, os.strerror(number) if number else str(error))


def group(path: str) -> str:
    """Whose members may use the port; Debian's ``dialout`` where that is not to be seen."""
    try:
        return grp.getgrgid(Path(path).stat().st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"


def holder(path: str, machine: Machine) -> str:
    """Which program has locked the file, as `/proc/locks` has it (proc(5)); empty: that is not to be seen."""
    try:
        found = Path(path).stat()
    except OSError:
        return ""
    inode = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in (machine.text("/proc/locks") or "").splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == inode and words[4].isdigit():
            name = machine.text(f"/proc/{words[4]}/comm")
            return f"{name} (process {words[4]})" if name else ""
    return ""


class SerialPort:
    """A port of :func:`set_up`, watched from now on until :meth:`close`.

    on_data: gets what comes. on_gone: told once, with the reason, when it is unplugged; it is closed then. unsent: frames that had no room
    to be written.
    """

    def __init__(self, opened: Any, *, on_data: Callable[[bytes], None], on_gone: Callable[[str], None]) -> None:
        self._opened, self._on_data, self._on_gone = opened, on_data, on_gone
        self._fd: int = opened.fileno()
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._window, self._taken, self._full, self._progress = 0.0, 0, float("-inf"), 0.0
        self._pause: asyncio.TimerHandle | None = None
        self.is_open, self.unsent = True, 0
        self._loop.add_reader(self._fd, self._read)

    @property
    def is_stuck(self) -> bool:
        """Whether nothing of what was written is taken."""
        return bool(self._waiting) and self._loop.time() - self._progress > STUCK_SECONDS

    @property
    def floods(self) -> bool:
        """Whether it sends more than is read; the rest waits in the microcontroller, or is lost there."""
        return self._loop.time() - self._full < FLOOD_SECONDS

    def write(self, data: bytes) -> bool:
        """Write all of it, or nothing: False, it had no room."""
        if not self.is_open or len(self._waiting) + len(data) > MAX_UNSENT_BYTES:
            self.unsent += 1
            return False
        if not self._waiting:
            self._progress = self._loop.time()
            self._loop.add_writer(self._fd, self._write)
        self._waiting += data
        self._write()
        return True

    def close(self) -> None:
        """Safe to call twice."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if self._pause:
            self._pause.cancel()
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(self._fd, termios.TCIOFLUSH)  # else the kernel waits up to 30 s for what the other end does not take
        with contextlib.suppress(OSError):
            self._opened.close()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._gone(os.strerror(error.errno or 0))
            return
        if not data:
            self._gone("hung up")
            return
        self._count(len(data))
        self._on_data(data)

    def _count(self, size: int) -> None:
        """Read no faster than is bounded: the kernel then holds up whoever sends."""
        now = self._loop.time()
        if now - self._window >= WINDOW_SECONDS:
            self._window, self._taken = now, 0
        self._taken += size
        if self._taken >= WINDOW_BYTES:
            self._full = now
            self._loop.remove_reader(self._fd)
            self._pause = self._loop.call_at(self._window + WINDOW_SECONDS, self._resume)

    def _resume(self) -> None:
        if self.is_open:
            self._loop.add_reader(self._fd, self._read)

    def _write(self) -> None:
        try:
            written = os.write(self._fd, self._waiting)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._gone(os.strerror(error.errno or 0))
            return
        del self._waiting[:written]
        self._progress = self._loop.time()
        if not self._waiting:
            self._loop.remove_writer(self._fd)

    def _gone(self, why: str) -> None:
        self.close()
        self._on_gone(f"it was unplugged ({why})")
