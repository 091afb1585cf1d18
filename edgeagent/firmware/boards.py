"""Which boards with MicroPython are plugged in by USB."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.errors import Unreachable, UsageProblem

__all__ = ["Board", "choose", "found", "wait_for_return"]

#: Raspberry Pi's vendor id, and the product id of MicroPython on its chips.
VENDOR, MICROPYTHON = 0x2E8A, 0x0005
#: How long a board may take from its reset until its port is there again, and how often that is looked at, in seconds.
RETURN_SECONDS, LOOK_SECONDS = 20.0, 0.1
_NEW = "for a new board hold its BOOTSEL button while you plug it in, and name a file of MicroPython with --uf2"


@dataclass(frozen=True)
class Board:
    """port: its path. serial_number: of its USB device, which is the chip's id; empty: not known."""

    port: str
    serial_number: str = ""

    @property
    def is_there(self) -> bool:
        return Path(self.port).exists()


Ports = Callable[[], Iterable[Any]]


def _comports() -> Iterable[Any]:
    from serial.tools import list_ports

    ports: Iterable[Any] = list_ports.comports()
    return ports


def found(ports: Ports = _comports) -> list[Board]:
    """Those with MicroPython on their USB port. ports: as pyserial's ``comports``."""
    boards = [Board(each.device, each.serial_number or "") for each in ports() if (each.vid, each.pid) == (VENDOR, MICROPYTHON)]
    return sorted(boards, key=lambda board: board.port)


def choose(port: str, *, everyone: bool, ports: Ports = _comports) -> list[Board]:
    """The board at ``port``, every board, or the only one. Raises EdgeError when that is not what is there."""
    if port and everyone:
        raise UsageProblem("flash boards", "--port is one and --all is every board", "leave out one of both")
    if port:
        return [next((each for each in found(ports) if each.port == port), Board(port))]
    boards = found(ports)
    if not boards:
        raise Unreachable(
            "find a board", "none with MicroPython is plugged in", f"plug it in, or name its port with --port; {_NEW}"
        )
    if len(boards) > 1 and not everyone:
        names = ", ".join(f"{each.port} ({each.serial_number or 'no serial number'})" for each in boards)
        raise UsageProblem("choose a board", f"{len(boards)} are plugged in: {names}", "name one with --port, or say --all")
    return boards


def wait_for_return(board: Board, *, ports: Ports = _comports, seconds: float = RETURN_SECONDS) -> Board:
    """The same board, wherever it is plugged in again: by its serial number, else by its port. Raises Unreachable."""
    deadline = time.monotonic() + seconds
    while True:
        if board.serial_number:
            again = next((each for each in found(ports) if each.serial_number == board.serial_number), None)
        else:
            again = board if board.port and board.is_there else None
        if again:
            return again
        if time.monotonic() > deadline:
            why = f"its port did not come back within {seconds:g} s"
            raise Unreachable(
                f"find the board {board.serial_number or board.port} again", why, "unplug it, plug it in and repeat"
            )
        time.sleep(LOOK_SECONDS)


def wait_for_another(known: list[Board], *, ports: Ports = _comports, seconds: float = RETURN_SECONDS) -> Board:
    """A board that is not one of ``known``: in BOOTSEL mode it does not say who it is. Raises Unreachable."""
    deadline = time.monotonic() + seconds
    while not (new := [each for each in found(ports) if each not in known]):
        if time.monotonic() > deadline:
            why = f"no new port came within {seconds:g} s"
            raise Unreachable(
                "find the board after MicroPython was copied to it", why, "unplug it, plug it in and repeat without --uf2"
            )
        time.sleep(LOOK_SECONDS)
    return new[0]
