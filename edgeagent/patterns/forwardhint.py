"""The hint: how far the forwarder was, in a file. It may be old, and counts only when the hub has no chunk of the device that can be read."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from edgeagent.chunk import Progress

__all__ = ["load_hint", "save_hint"]


def load_hint(path: Path) -> Progress | None:
    """None: there is none, or none that can be read."""
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    return None


def save_hint(path: Path, progress: Progress) -> None:
    """As far as that is possible. It need not survive a power cut, so nothing is flushed."""
    beside = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        beside.write_bytes(msgspec.json.encode(progress))
        beside.replace(path)
