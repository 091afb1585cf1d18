"""The hint: how far the forwarder was, in a file. It may be old, and counts only when the hub has no chunk of the device that can be read, and
is the one that it is of: what another hub has, this one has not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgeagent.chunk import Progress

__all__ = ["Hint", "load_hint", "save_hint"]


class _File(Progress, frozen=True, omit_defaults=True):
    """hub: where it was so far; empty: an older edgeagent did not say."""

    hub: str = ""


class Hint:
    """hub: gives where the link to the hub leads; it is asked whenever one came."""

    def __init__(self, path: Path, hub: Callable[[], str] = lambda: "") -> None:
        self._path, self._hub = path, hub
        self._at = self._of = hub()

    def load(self) -> Progress | None:
        """None: there is none that counts here."""
        return load_hint(self._path, self._at)

    def came(self) -> None:
        """There is a new link."""
        self._at = self._hub()

    def of(self, progress: Progress | None) -> Progress | None:
        """``progress`` where it is of this hub. From now on whatever is known is."""
        before, self._of = self._of, self._at
        return progress if before == self._at else None

    def save(self, progress: Progress) -> None:
        save_hint(self._path, progress, self._of)


def load_hint(path: Path, hub: str = "") -> Progress | None:
    """None: there is none, or none that can be read, or it is of another hub."""
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        found = msgspec.json.decode(path.read_bytes(), type=_File)
        if found.hub in ("", hub):
            return msgspec.convert(msgspec.structs.asdict(found), Progress)
    return None


def save_hint(path: Path, progress: Progress, hub: str = "") -> None:
    """As far as that is possible. It need not survive a power cut, so nothing is flushed."""
    beside = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        beside.write_bytes(msgspec.json.encode(_File(**msgspec.structs.asdict(progress), hub=hub)))
        beside.replace(path)
