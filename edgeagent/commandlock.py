"""The lock of a device: while its file is in the state folder, no command runs but what only says that the device is there.

Whoever stands at the machine sets it (``sudo edgeagent lock``); nobody can from afar.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError

__all__ = ["FILE", "Locked", "lock", "read", "unlock"]

FILE = "commands.locked"


class Locked(msgspec.Struct, frozen=True):
    """by: who locked it. since: RFC 3339. note: why. Empty: not told."""

    by: str = ""
    since: str = ""
    note: str = ""

    def __str__(self) -> str:
        """``locked by pi since 2026-01-01T08:00:00.000Z: the roof is open``."""
        by, since = f" by {self.by}" if self.by else "", f" since {self.since}" if self.since else ""
        return f"locked{by}{since}{f': {self.note}' if self.note else ''}"


def read(state: Path) -> Locked | None:
    """The lock in the state folder, None when there is none. A file that can't be read locks as well: who put it there meant it."""
    try:
        return _read(state)
    except EdgeError:
        return Locked()


def _read(state: Path) -> Locked | None:
    """Like :func:`read`; raises EdgeError when we may not read it."""
    data = files.read_if_there(state / FILE)
    try:
        return None if data is None else msgspec.json.decode(data, type=Locked)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Locked()


def lock(state: Path, by: Locked) -> Locked:
    """From now on commands are refused. The lock that counts: one that is there already stays as it is. Raises EdgeError."""
    found = _read(state)
    if found is None:
        files.write_atomic(state / FILE, msgspec.json.encode(by) + b"\n", 0o644, files.folders_owner(state))
    return found or by


def unlock(state: Path) -> Locked | None:
    """Commands run again. The lock that was there, None when there was none. Raises EdgeError."""
    found = _read(state)
    try:
        with contextlib.suppress(FileNotFoundError):
            (state / FILE).unlink()
            _flush(state)
    except OSError as error:
        raise files.failure(f"remove {state / FILE}", error) from None
    return found


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
