"""A board's Python from outside, by its raw REPL. The one module that uses mpremote, whose classes are no documented interface.

A board that runs a program is interrupted, and one whose watchdog is armed would be reset in the middle of all that follows: no call
switches a watchdog off, so its register is written. Errors of the port and of mpremote come out as ours.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import msgspec

from edgeagent.bridge.serialport import group, holder
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.firmware import programs
from edgeagent.machine import Machine

__all__ = ["About", "Repl", "check_installed"]

#: How long one answer may take, how often a board is interrupted, and how long a port may be busy or not yet ours after it came, in seconds.
TIMEOUT_SECONDS, TRIES, OPEN_SECONDS = 5.0, 3, 3.0
#: How much a board may say in one step, and how long that may take, in bytes and seconds; a large file is one step.
MAX_ANSWER_BYTES, STEP_SECONDS = 256 << 10, 300.0
#: What is written at once; the board reads the line that it is in into its memory.
_CHUNK = 1024
_HELD = "end that; the agent gives the port back with `sudo systemctl stop edgeagent`"

_T = TypeVar("_T")


class About(NamedTuple):
    """What a board's MicroPython says that it is. machine: ``Raspberry Pi Pico W with RP2040``. unique_id: of its chip.
    bytecode: what its interpreter reads, such as ``6.3``; empty: none."""

    name: str
    version: list[int]
    machine: str
    has_wifi: bool
    unique_id: str
    bytecode: str

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def check_installed() -> None:
    """Raises UsageProblem when the tools for boards are missing."""
    try:
        import mpremote.transport_serial  # noqa: F401 - whether it can be
    except ImportError:
        raise UsageProblem("flash a board", "mpremote is not installed", "`pip install 'edgeagent[flash]'`") from None


class Repl:
    """The board at ``port``, whose raw REPL is ours within ``with``. Raises EdgeError, also from every method.

    disarm: the program that switches the watchdog off.
    """

    def __init__(self, port: str, *, disarm: str = programs.DISARM) -> None:
        self.port, self._disarm = port, disarm
        self._transport: Any = None

    def __enter__(self) -> Repl:
        check_installed()
        for attempt in range(1, TRIES + 1):
            try:
                self._begin()
                return self
            except Unreachable:
                if attempt == TRIES:
                    raise
        raise AssertionError("unreachable")

    def _begin(self) -> None:
        """Its watchdog may have reset it just now: then its port comes back."""
        self._transport = self._open()
        try:
            with self._told():
                self._enter()
        except BaseException:
            self._let_run()
            self._close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind:
            self._let_run()
        self._close()

    # ---- what can be done ----

    def about(self) -> About:
        return self._ask(programs.ABOUT, About)

    def hashes(self, paths: list[str]) -> dict[str, str]:
        """SHA-256 of each file, in hex; empty: there is none."""
        with self._told():
            self._transport.exec(programs.HASHES)
        return {path: self._ask(f"print(json.dumps(h({path!r})))", str) for path in paths}

    def files(self, folder: str) -> list[str]:
        """The paths of all files below it; none if it is not there."""
        return self._ask(f"{programs.LIST}\nprint(json.dumps(l({folder!r})))", list[str])

    def image(self) -> set[str]:
        """What is frozen in its MicroPython: lines of :mod:`edgeagent.firmware.frozen`; none where that is the one from micropython.org."""
        return self._ask(programs.IMAGE, set[str])

    def read(self, path: str, most: int) -> bytes | None:
        """None: there is no such file. Raises Failed when it has more than ``most`` bytes."""
        with self._told():
            try:
                if self._transport.fs_stat(path).st_size > most:
                    raise Failed(f"read {path} on the board", f"it has more than {most} bytes", "name another with --settings")
                return bytes(self._transport.fs_readfile(path, chunk_size=_CHUNK))
            except FileNotFoundError:
                return None

    def write(self, path: str, data: bytes, progress: Callable[[int], None] = lambda done: None) -> None:
        """Replace the file: after a cut in between it is the old one or the new one."""
        new = f"{path}.new"
        with self._told():
            self._make_folders(path)
            self._transport.fs_writefile(new, data, chunk_size=_CHUNK, progress_callback=lambda at, _: progress(at))
        if self.hashes([new])[new] != hashlib.sha256(data).hexdigest():
            raise Failed(
                f"write {path} on the board", "what it has is not what was sent", "repeat; if it stays so, its flash is failing"
            )
        self.run(f"import os\nos.rename({new!r}, {path!r})")

    def remove(self, paths: list[str]) -> None:
        if paths:
            self.run(f"import os\nfor p in {paths!r}:\n os.remove(p)")

    def run(self, program: str) -> None:
        with self._told():
            self._transport.exec(program)

    def leave(self, program: str) -> None:
        """Run what ends the connection: ``machine.bootloader()``."""
        with self._told():
            self._transport.exec_raw_no_follow(program)

    def soft_reset(self) -> Any:
        """Have it start its main.py; the port, of pyserial, stays open, for what it says then."""
        with self._told():
            self._transport.exit_raw_repl()
            self._transport.serial.write(b"\x04")
        return self._transport.serial.port

    # ---- how ----

    def _ask(self, program: str, kind: type[_T]) -> _T:
        """What it prints last, as JSON of this kind."""
        with self._told():
            said = self._transport.exec(program)
        try:
            return msgspec.json.decode(said.strip().splitlines()[-1], type=kind)
        except (ValueError, IndexError, RecursionError):
            raise Failed(
                f"ask the board at {self.port}", f"it answered {said[-80:]!r}", "repeat; unplug it and plug it in before"
            ) from None

    def _make_folders(self, path: str) -> None:
        parts = path.split("/")[1:-1]
        folders = ["/" + "/".join(parts[: at + 1]) for at in range(len(parts))]
        if folders:
            self._transport.exec(f"import os\nfor p in {folders!r}:\n try:\n  os.mkdir(p)\n except OSError:\n  pass")

    def _open(self) -> Any:
        from mpremote.transport import TransportError
        from mpremote.transport_serial import SerialTransport

        path, deadline = str(Path(self.port).resolve()), time.monotonic() + OPEN_SECONDS
        while True:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    transport = SerialTransport(path, timeout=TIMEOUT_SECONDS)
                transport.serial.write_timeout = TIMEOUT_SECONDS
                transport.serial = _Bounded(transport.serial)
                return transport
            except (TransportError, OSError):
                problem, is_passing = _why_not(self.port)
            if not is_passing or time.monotonic() > deadline:
                raise problem
            time.sleep(0.1)  # udev has not given it to its group yet

    def _enter(self) -> None:
        """Into the raw REPL of a board that was reset softly: what ran left threads, timers and a full memory."""
        from mpremote.transport import TransportError

        for attempt in range(1, TRIES + 1):
            try:
                self._transport.serial.write(b"\r\x03\x03")
                self._transport.enter_raw_repl(soft_reset=False, timeout_overall=TIMEOUT_SECONDS)
                break
            except TransportError:
                if attempt == TRIES:
                    raise
        self._transport.exec(self._disarm)
        self._transport.enter_raw_repl(soft_reset=True, timeout_overall=TIMEOUT_SECONDS)
        self._transport.exec(self._disarm)  # a boot.py may have armed it

    def _let_run(self) -> None:
        """After a failure it shall do what it did before, and not stand at a prompt for ever."""
        with contextlib.suppress(EdgeError):
            self.soft_reset()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._transport.serial.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Every way in which it fails, in our words; what mpremote prints is for its own users."""
        from mpremote.transport import TransportError, TransportExecError

        what = f"talk to the board at {self.port}"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self._transport.serial.begin()
                yield
        except EdgeError:  # some of ours are OSErrors too
            raise
        except TransportExecError as error:
            raise _refused_by_board(what, str(error.error_output)) from None
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise _refused_by_board(what, "ENOSPC") from None
            raise Unreachable(what, "it was unplugged, or reset", "plug it in and repeat: nothing is lost") from None
        except (TransportError, struct.error, ValueError, TypeError, SyntaxError, RecursionError) as error:  # it believes all
            why = "it does not come to MicroPython's prompt" if "raw repl" in str(error) else "it stopped answering"
            raise Unreachable(what, why, _STUCK) from None


class _Bounded:
    """``port`` with an end to what is read in one step: mpremote reads on while something comes, and keeps all of it."""

    def __init__(self, port: Any) -> None:
        self.port = port
        self.begin()

    def begin(self) -> None:
        self._left, self._until = MAX_ANSWER_BYTES, time.monotonic() + STEP_SECONDS

    def read(self, size: int = 1) -> bytes:
        data: bytes = self.port.read(size)
        self._left -= len(data)
        if self._left < 0 or time.monotonic() > self._until:
            raise ValueError("it does not stop talking")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)


_STUCK = "unplug it, plug it in and repeat; if that does not help hold BOOTSEL while you plug it in, and put MicroPython on it with --uf2"


def _refused_by_board(what: str, traceback: str) -> EdgeError:
    last = traceback.strip().splitlines()[-1:] or ["it did not say why"]
    if "ENOSPC" in traceback or "OSError: 28" in traceback:
        return Failed(what, "its flash is full", "remove files of yours from it (`mpremote fs rm`), and repeat")
    return Failed(what, f"its MicroPython says {last[0]}", "repeat; unplug it and plug it in before")


def _why_not(port: str) -> tuple[EdgeError, bool]:
    """Why ``port`` can't be opened, and whether that may pass by itself."""
    import serial

    what = f"open {port}"
    try:
        serial.Serial(str(Path(port).resolve()), exclusive=True).close()
    except OSError as error:  # pyserial's own is one
        if error.errno in (errno.EWOULDBLOCK, errno.EBUSY):
            who = holder(str(Path(port).resolve()), Machine()) or "another program"
            return Refused(what, f"{who} uses it", _HELD), False
        if error.errno in (errno.EACCES, errno.EPERM):
            return Refused(what, "this user may not", f"`sudo usermod -aG {group(port)} $USER`, and log in again"), True
        if error.errno == errno.ENOENT and not Path(port).exists():
            return Unreachable(what, "there is no such port", "plug the board in; without --port it is found by itself"), True
        return Unreachable(what, error.strerror or str(error), "unplug the board, plug it in and repeat"), True
    return Unreachable(what, "it could not be opened", "repeat"), True
