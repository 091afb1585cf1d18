"""The disk with the state folder: whether there is room, whether what is written stays, and whether the leaf's store fits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeagent.assembly.findings import Finding
from edgeagent.builtin import _mounts
from edgeagent.builtin._mounts import Mount
from edgeagent.doctor.check import ONLY_ROOT, Case, Check, Patient, size_of
from edgeagent.leaf import storelimit
from edgeagent.leaf.storelimit import StoreLimit
from edgeagent.places import is_there

__all__ = [
    "DISK",
    "STORE",
    "WRITABLE",
    "Held",
    "Mounted",
    "Room",
    "home_of",
    "judge_store",
    "judge_writable",
    "read",
    "read_mounts",
    "room",
]

#: Below so much nothing useful can be written, in bytes and files; nats-server stops storing at ENOSPC.
LEAST_BYTES, LEAST_FILES = 8 << 20, 100
#: Part of the files that a file system can have, below which it is a warning.
FEW_FILES = 0.02

_FREE = (
    "free some space: `sudo journalctl --vacuum-size=50M`, `sudo apt clean`; `sudo du -xh / | sort -h | tail` shows who has it"
)

DISK_GOOD = Case("good", "{free} of {size} free at {point}")
DISK_FULL = Case("wrong", "{free} of {size} free at {point}: nothing can be stored any more", _FREE)
DISK_LOW = Case("warn", "{free} of {size} free at {point}, less than the {floor} that are meant to stay free", _FREE)
DISK_FILES = Case(
    "wrong",
    "no room for another file at {point} (inodes: {files} free)",
    "remove files: `sudo du --inodes -x / | sort -n | tail` shows where the most are",
)
DISK_FEW = Case(
    "warn",
    "hardly room for another file at {point} (inodes: {files} free)",
    "remove files: `sudo du --inodes -x / | sort -n | tail` shows where the most are",
)

STAYS = Case("good", "{folder} is on {kind}, and stays")
READ_ONLY = Case(
    "wrong",
    "{folder} is read-only ({point}, {kind})",
    "`dmesg | grep -i -e remount -e error` shows whether the disk failed: then replace it. Else `sudo mount -o remount,rw {point}`",
    "Linux makes a file system read-only when it meets errors, to save what is left. Nothing is stored then, and a restart fails.",
)
FLEETING = Case(
    "wrong",
    "{folder} is in memory ({kind}): what the agent stores is gone after a reboot",
    "{remedy}",
    "Credentials that were renewed, the journal of commands and samples that were not sent would be lost, and commands could run twice.",
)
OVERLAY = Case(
    "warn",
    "{folder} is on an overlay whose upper layer can't be seen from here: what is stored may not stay",
    "in a container: put the state folder on a volume",
)
_IN_MEMORY = ("tmpfs", "ramfs")
_OVERLAYROOT = "switch the overlay off (`sudo raspi-config`, Performance Options, Overlay File System), or give {folder} a partition of its own"
_TMPFS = "mount a disk at {folder}, or set `paths.state` in agent.toml to a folder on one"

STORE_GOOD = Case("good", "{used} used, at most {limit}")
STORE_NONE = Case("good", "nothing is stored yet")
STORE_LARGE = Case(
    "wrong",
    "it may grow to {limit}, and the whole disk has {size}",
    "lower `leaf.store_max_bytes` in agent.toml, and restart the agent",
    "At a full disk nats-server stops storing, until it is restarted.",
)
STORE_TIGHT = Case(
    "warn",
    "it may grow by {growth} to {limit}, and the disk has {free} free",
    "free that much, or lower `leaf.store_max_bytes` in agent.toml and restart the agent",
)


@dataclass(frozen=True, kw_only=True)
class Room:
    """Of the file system with the state folder; sizes in bytes, ``files`` and ``free_files`` in inodes (0: it does not count them).
    floor: what is meant to stay free."""

    point: str
    size: int
    free: int
    files: int = 0
    free_files: int = 0
    floor: int = 0


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the store may take and takes, in bytes; None: not decided yet. hidden: we may not look."""

    limit: StoreLimit | None
    used: int
    hidden: bool = False


@dataclass(frozen=True, kw_only=True)
class Mounted:
    """folder: the state folder, with links resolved. home: the mount that it is on; None: not known. upper: the upper layer of an overlay
    there, empty where it can't be seen from here. command_line: the kernel's."""

    folder: Path
    mounts: tuple[Mount, ...]
    home: Mount | None
    upper: str = ""
    command_line: str = ""


def read(patient: Patient) -> Room:
    folder = nearest(patient.settings.state_folder)
    found = os.statvfs(folder)
    size = found.f_blocks * found.f_frsize
    return Room(
        point=str(folder),
        size=size,
        free=found.f_bavail * found.f_frsize,
        files=found.f_files,
        free_files=found.f_favail,
        floor=min(patient.settings.leaf.free_floor_bytes, size // storelimit.FLOOR_PART),
    )


def nearest(folder: Path) -> Path:
    """The folder, or the one above it that is there."""
    return next(each for each in (folder, *folder.parents) if is_there(each))


def room(found: Room) -> Iterator[Finding]:
    values = {"free": size_of(found.free), "size": size_of(found.size), "point": found.point}
    if found.free < LEAST_BYTES:
        yield DISK_FULL(**values)
    elif found.free < found.floor:
        yield DISK_LOW(**values, floor=size_of(found.floor))
    if found.files and found.free_files < LEAST_FILES:
        yield DISK_FILES(point=found.point, files=found.free_files)
    elif found.files and found.free_files < found.files * FEW_FILES:
        yield DISK_FEW(point=found.point, files=found.free_files)
    elif found.free >= max(LEAST_BYTES, found.floor):
        yield DISK_GOOD(**values)


def read_mounts(patient: Patient) -> Mounted:
    folder, machine = nearest(patient.settings.state_folder).resolve(), patient.machine
    mounts = _mounts.table(machine)
    home = home_of(mounts, folder)
    upper = _upper(home) if home else ""
    # The path is of whoever mounted it: in a container it means nothing, or something else.
    seen = upper if upper.startswith("/") and is_there(machine.path(upper)) else ""
    return Mounted(folder=folder, mounts=tuple(mounts), home=home, upper=seen, command_line=machine.text("/proc/cmdline") or "")


def _upper(mount: Mount) -> str:
    return next((option.partition("=")[2] for option in mount.options if option.startswith("upperdir=")), "")


def home_of(mounts: Sequence[Mount], folder: Path) -> Mount | None:
    """The mount that a folder is on: of the last of those at the nearest point."""
    points = [str(each) for each in (folder, *folder.parents)]
    fitting = [mount for mount in mounts if mount.point in points]
    return max(reversed(fitting), key=lambda mount: len(mount.point), default=None)


def judge_writable(found: Mounted) -> Iterator[Finding]:
    folder, home = found.folder, found.home
    if home is None:
        return
    if "ro" in home.options:
        yield READ_ONLY(folder=folder, point=home.point, kind=home.kind)
    elif home.kind in _IN_MEMORY:
        yield FLEETING(folder=folder, kind=home.kind, remedy=_TMPFS.format(folder=folder))
    elif home.kind == "overlay":
        yield _overlay(found, home)
    else:
        yield STAYS(folder=folder, kind=home.kind)


def _overlay(found: Mounted, home: Mount) -> Finding:
    folder, words = found.folder, found.command_line.split()
    below = home_of(found.mounts, Path(found.upper)) if found.upper else None
    # raspi-config: overlayroot=tmpfs since Bookworm, boot=overlay before, when initramfs kept the upper layer out of sight.
    asked = home.point == "/" and any(word == "boot=overlay" or word.startswith("overlayroot=tmpfs") for word in words)
    if asked or (below is not None and below.kind in _IN_MEMORY):
        return FLEETING(folder=folder, kind="an overlay", remedy=_OVERLAYROOT.format(folder=folder))
    if below is None or below == home or below.kind == "overlay":
        return OVERLAY(folder=folder)
    return STAYS(folder=folder, kind=f"an overlay on {below.kind}")


def read_store(patient: Patient) -> Held:
    folder = patient.settings.state_folder
    if not patient.may_look:
        return Held(limit=None, used=0, hidden=True)
    return Held(limit=storelimit.kept(folder), used=storelimit.used_bytes(folder / "js"))


def judge_store(held: Held, disk: Room) -> Iterator[Finding]:
    if held.hidden:
        yield ONLY_ROOT(what="the leaf's store")
        return
    if held.limit is None:
        yield STORE_NONE()
        return
    limit = held.limit.limit_bytes
    growth = max(0, limit - held.used)
    values = {"limit": size_of(limit), "used": size_of(held.used), "growth": size_of(growth)}
    if limit > disk.size:
        yield STORE_LARGE(**values, size=size_of(disk.size))
    elif growth > disk.free:
        yield STORE_TIGHT(**values, free=size_of(disk.free))
    else:
        yield STORE_GOOD(**values)


DISK = Check(
    "disk",
    "Free space and free inodes of the file system with the state folder.",
    (read,),
    room,
    (DISK_GOOD, DISK_FULL, DISK_LOW, DISK_FILES, DISK_FEW),
)
WRITABLE = Check(
    "storage",
    "Whether what is written to the state folder stays there: not read-only, not in memory, not on the overlay that `raspi-config` can "
    "put over the card.",
    (read_mounts,),
    judge_writable,
    (STAYS, READ_ONLY, FLEETING, OVERLAY),
)
STORE = Check(
    "store",
    "What the leaf's streams may take of the disk, against what there is.",
    (read_store, read),
    judge_store,
    (STORE_GOOD, STORE_NONE, STORE_LARGE, STORE_TIGHT, ONLY_ROOT),
)
