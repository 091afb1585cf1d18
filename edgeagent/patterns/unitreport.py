"""What a unit tells the agent of its action: the end of its output, and at last its outcome, in one file of bounded size.

The unit writes by a descriptor that systemd opened for it, the agent reads by the path. The output goes round in a ring, so that who
floods fills no memory; whoever reads too slowly misses the oldest and knows how much. Blocks for as long as memory takes (tmpfs).
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MAX_OUTCOME_BYTES", "RING_BYTES", "Reader", "Writer"]

#: How much of the output is there at any time: twice what is kept of it.
RING_BYTES = 128 << 10
#: An answer has at most 64 KiB, escaped and with a reason it is less than this.
MAX_OUTCOME_BYTES = 512 << 10
#: What it says of itself may be wrong: so much is believed at once to have been missed.
MAX_MISSED_BYTES = 64 << 20
#: How many bytes of output there were, and how many the outcome has.
_HEADER = struct.Struct("<QQ")
_OUTCOME = _HEADER.size + RING_BYTES


class Writer:
    """descriptor: of the file, empty, to be written."""

    def __init__(self, descriptor: int) -> None:
        self._file, self._total = descriptor, 0

    def write(self, data: bytes) -> None:
        """More output."""
        self._total += len(data)
        start = self._total - len(data[-RING_BYTES:])
        for place, part in _around(start, data[-RING_BYTES:]):
            os.pwrite(self._file, part, place)
        os.pwrite(self._file, _HEADER.pack(self._total, 0), 0)

    def end(self, outcome: bytes) -> None:
        """Nothing follows. Raises ValueError when it is too large."""
        if len(outcome) > MAX_OUTCOME_BYTES:
            raise ValueError(f"the outcome has {len(outcome)} bytes, and {MAX_OUTCOME_BYTES} are the most")
        os.pwrite(self._file, outcome, _OUTCOME)
        os.pwrite(self._file, _HEADER.pack(self._total, len(outcome)), 0)


def _around(start: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """``(place in the file, part)`` of what begins at byte ``start`` of the output."""
    first = RING_BYTES - start % RING_BYTES
    yield _HEADER.size + start % RING_BYTES, data[:first]
    if data[first:]:
        yield _HEADER.size, data[first:]


class Reader:
    """path: of the file; nothing is told of one that can't be read (yet)."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def new(self) -> Iterator[bytes]:
        """What was written since the last time. In place of what was missed come as many zeros: it counts, and is too old to be kept."""
        with self._opened() as descriptor:
            if descriptor < 0:
                return
            total, _ = _header(descriptor)
            start = max(self._read, total - RING_BYTES)
            found = b"".join(
                os.pread(descriptor, len(part), place) for place, part in _around(start, bytes(max(0, total - start)))
            )
            late = max(0, _header(descriptor)[0] - RING_BYTES - start)  # overwritten while it was read
        missed, self._read = min(start - self._read + min(late, len(found)), MAX_MISSED_BYTES), max(total, self._read)
        while missed > 0:
            yield bytes(min(missed, RING_BYTES))
            missed -= RING_BYTES
        if found[late:]:
            yield found[late:]

    def outcome(self) -> bytes:
        """Empty: there is none."""
        with self._opened() as descriptor:
            if descriptor < 0:
                return b""
            _, size = _header(descriptor)
            return os.pread(descriptor, min(size, MAX_OUTCOME_BYTES), _OUTCOME)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            yield -1
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _header(descriptor: int) -> tuple[int, int]:
    data = os.pread(descriptor, _HEADER.size, 0)
    return _HEADER.unpack(data) if len(data) == _HEADER.size else (0, 0)
