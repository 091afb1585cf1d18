"""Which devices stayed silent although they seemed online. They are not waited for again until they speak.

Kept in a file, so that the next call of the command line knows as well; losing it costs one wait.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError
from edgeagent.times import parse_rfc3339

__all__ = ["Suspects"]


class Suspects:
    """Device id → when it had last been heard as it stayed silent (the hub's clock).

    path: where to keep them between processes; None: only in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._since: dict[str, datetime] = {}
        if path is not None:
            with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
                kept = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
                self._since = {device: parse_rfc3339(text) for device, text in kept.items()}

    def get(self, device_id: str) -> datetime | None:
        return self._since.get(device_id)

    def update(self, *, silent: dict[str, datetime], spoke: set[str]) -> None:
        """Remember who stayed silent just now and forget who spoke."""
        before = dict(self._since)
        self._since.update(silent)
        for device in spoke:
            self._since.pop(device, None)
        if self._path is not None and self._since != before:
            self._save(self._path)

    def _save(self, path: Path) -> None:
        # To the microsecond: cut off at the millisecond, a time that is the last sign of life itself would look older than it.
        text = msgspec.json.encode({device: since.isoformat() for device, since in self._since.items()})
        with contextlib.suppress(EdgeError):  # a cache: a read-only home folder must not fail a query
            files.make_folder(path.parent, 0o700)
            files.write_atomic(path, text, 0o600)
