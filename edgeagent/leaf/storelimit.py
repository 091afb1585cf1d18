"""How much of the disk the leaf's store may take: decided once, kept, and static from then on, so that it holds while the agent is down.

It is what the settings allow, unless the disk has less room than that: a floor of free disk is left to the others, who would fall over
without it. What others take afterwards is theirs: a limit that followed them would throw samples away whenever a download comes.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError

__all__ = [
    "FILE",
    "MIN_BYTES",
    "Disk",
    "StoreLimit",
    "choose",
    "claimed",
    "decide",
    "disk_of",
    "kept",
    "mqtt_bytes",
    "used_bytes",
]

FILE = "store.json"
#: Less is of no use: some hours of samples, and two dozen messages of 512 KiB in the stream for those.
MIN_BYTES = 16 << 20
#: The floor is at most this part of the disk: a small card has other worries.
FLOOR_PART = 10
#: The folder of a store with one account's streams, as nats-server lays it out.
_STREAMS = "jetstream/{account}/streams/*/meta.inf"
#: MQTT may have this part of what the streams for samples and messages may take, besides.
_MQTT_PART = 8
#: nats-server keeps five streams for MQTT, each in files of its own.
MQTT_MIN_BYTES = 4 << 20


class Disk(NamedTuple):
    """A file system: its size and what is free for us, in bytes."""

    size: int
    free: int


class StoreLimit(msgspec.Struct, frozen=True, kw_only=True):
    """limit_bytes: what counts. The others are what it was decided from: the settings, and the size of the disk; all in bytes.

    is_too_little: the disk had no room for anything useful, so it is decided anew at the next start.
    """

    limit_bytes: int
    wished_bytes: int
    floor_bytes: int
    disk_bytes: int
    is_too_little: bool = False


def decide(wished_bytes: int, floor_bytes: int, disk: Disk, used: int) -> StoreLimit:
    """The limit for a store that takes ``used`` bytes of the disk now. floor_bytes: of the settings."""
    room = disk.free + used - min(floor_bytes, disk.size // FLOOR_PART)
    least = min(wished_bytes, MIN_BYTES)
    return StoreLimit(
        limit_bytes=max(least, min(wished_bytes, room)),
        wished_bytes=wished_bytes,
        floor_bytes=floor_bytes,
        disk_bytes=disk.size,
        is_too_little=room < least,
    )


def choose(folder: Path, wished_bytes: int, floor_bytes: int) -> StoreLimit:
    """The limit kept in the state folder, if it was decided for the same settings and disk; else one that is decided now, and kept.

    Raises EdgeError when the disk can't be looked at. One that can't be written counts all the same: the disk may be full.
    """
    keep, disk = folder / FILE, disk_of(folder)
    last = kept(folder)
    if (
        last
        and not last.is_too_little
        and (last.wished_bytes, last.floor_bytes, last.disk_bytes)
        == (
            wished_bytes,
            floor_bytes,
            disk.size,
        )
    ):
        return last
    decided = decide(wished_bytes, floor_bytes, disk, used_bytes(folder / "js"))
    if decided != last:
        with contextlib.suppress(EdgeError):
            files.write_atomic(keep, msgspec.json.encode(decided) + b"\n", 0o600)
    return decided


def kept(folder: Path) -> StoreLimit | None:
    """The limit that was decided last, None where there is none, or it can't be read."""
    with contextlib.suppress(EdgeError, msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(files.read_if_there(folder / FILE) or b"", type=StoreLimit)
    return None


def disk_of(folder: Path) -> Disk:
    """The file system that the folder is on. Raises EdgeError."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        raise files.failure(f"look at the disk of {folder}", error) from None
    return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def used_bytes(folder: Path) -> int:
    """What the files below it take on disk; those that go while it is counted are left out."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def mqtt_bytes(wished_bytes: int, limit_bytes: int) -> int:
    """What the streams for MQTT may take beside those for samples and messages, which may take ``limit_bytes``."""
    return max(MQTT_MIN_BYTES, min(wished_bytes, limit_bytes // _MQTT_PART))


def claimed(store: Path, account: str) -> int:
    """What the streams of an account in a store were promised in all, in bytes.

    nats-server must not be given less: it takes neither messages nor smaller limits for streams that were promised more than there is.
    """
    total = 0
    for path in store.glob(_STREAMS.format(account=account)):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            total += max(0, msgspec.json.decode(path.read_bytes(), type=_Meta).max_bytes)
    return total


class _Meta(msgspec.Struct):
    max_bytes: int = -1
