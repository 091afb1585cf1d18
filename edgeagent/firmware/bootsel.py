"""The volume that a board is while it is in BOOTSEL mode: found, and MicroPython copied to it.

The boot ROM takes a UF2 file as it is written, and leaves the bus with the last block: errors at the end of the copy mean nothing, and what
counts is that the board comes back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.files import failure
from edgeagent.firmware.uf2 import RP2040, RP2350, Uf2
from edgeagent.machine import Machine

__all__ = ["Volume", "check", "copy", "is_plugged", "look", "volumes", "wait_for_volume"]

#: How long the desktop's own mounting may take, and how often that is looked at, in seconds.
MOUNT_SECONDS, LOOK_SECONDS = 15.0, 0.1
_CHUNK = 64 << 10
_INFO = "INFO_UF2.TXT"
_CHIPS = {"RPI-RP2": RP2040, "RP2350": RP2350}
_SYSTEMS = ("vfat", "msdos", "fuseblk")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Volume:
    """chip: what its INFO_UF2.TXT says, or that file's Board-ID where we know none."""

    path: Path
    chip: str


def look(path: Path) -> Volume | None:
    """The volume that is mounted at ``path``; None: it is none of a board."""
    try:
        text = (path / _INFO).read_bytes()[:4096].decode("ascii", "replace")
    except OSError:
        return None
    board = re.search(r"^Board-ID: *(\S+)", text, re.MULTILINE)
    return Volume(path, _CHIPS.get(board[1], board[1])) if board else None


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text("utf-8", "surrogateescape")
    except OSError:  # macOS mounts by itself, and always there
        return "".join(f"- {path} vfat\n" for path in Path("/Volumes").glob("RP*"))


def volumes(mounts: Callable[[], str] = _mounts) -> list[Volume]:
    """Those that are mounted. mounts: the text of /proc/mounts."""
    lines = [line.split() for line in mounts().splitlines()]
    paths = [Path(_unescaped(words[1])) for words in lines if len(words) > 2 and words[2] in _SYSTEMS]
    return [volume for volume in map(look, dict.fromkeys(paths)) if volume]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def is_plugged(machine: Machine) -> bool:
    """Whether a board in BOOTSEL mode is on the bus, mounted or not; also where the kernel does not show that."""
    devices = machine.path("/sys/bus/usb/devices")
    ids = {
        (machine.text(f"/sys/bus/usb/devices/{each.name}/idVendor"), machine.text(f"/sys/bus/usb/devices/{each.name}/idProduct"))
        for each in devices.glob("*")
    }
    return not devices.is_dir() or bool(ids & {("2e8a", "0003"), ("2e8a", "000f")})


def check(uf2: Uf2, there: list[Volume]) -> Volume:
    """The one volume for this file. Raises EdgeError when there are several, or it is of another chip."""
    what = f"copy {uf2.name}"
    if len(there) > 1:
        names = ", ".join(str(each.path) for each in there)
        raise UsageProblem(
            what,
            f"{len(there)} boards are in BOOTSEL mode: {names}",
            "leave only one of them plugged in, or name it with --volume",
        )
    volume = there[0]
    if volume.chip != uf2.chip:
        raise Refused(
            what, f"it is for the {uf2.chip}, and the board at {volume.path} is an {volume.chip}", "take the file for that board"
        )
    return volume


def wait_for_volume(uf2: Uf2, find: Callable[[], list[Volume]] = volumes, seconds: float = MOUNT_SECONDS) -> Volume:
    """As soon as it is mounted. Raises EdgeError."""
    deadline = time.monotonic() + seconds
    while not (there := find()):
        if time.monotonic() > deadline:
            remedy = "mount it (`udisksctl mount -b /dev/disk/by-label/RPI-RP2`), or name where it is with --volume, and repeat"
            raise Unreachable(f"copy {uf2.name}", "no volume of a board in BOOTSEL mode is mounted", remedy)
        time.sleep(LOOK_SECONDS)
    return check(uf2, there)


def copy(uf2: Uf2, volume: Volume, progress: Callable[[int], None] = lambda done: None) -> None:
    """Write the file, and nothing about it: the volume is gone before a time or a mode could be set. Raises EdgeError."""
    try:
        _write(volume.path / "edgeagent.uf2", uf2.data, progress)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOENT) and look(volume.path) is None:
            return  # it left, as it does when it has all
        raise _problem(uf2, volume, error) from None


def _write(path: Path, data: bytes, progress: Callable[[int], None]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        for at in range(0, len(data), _CHUNK):
            _write_all(descriptor, data[at : at + _CHUNK])
            progress(min(at + _CHUNK, len(data)))
        os.fsync(descriptor)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _problem(uf2: Uf2, volume: Volume, error: OSError) -> EdgeError:
    if error.errno in (errno.EIO, errno.ENODEV, errno.ENXIO):
        return Failed(
            f"copy {uf2.name} to {volume.path}",
            "the board does not take it",
            "unplug it, plug it in with BOOTSEL held, and repeat",
        )
    return failure(f"copy {uf2.name} to {volume.path}", error)
