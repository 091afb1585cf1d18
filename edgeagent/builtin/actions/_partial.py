"""What a device has of a file that is on its way, in its state folder: a kill, a cut or a reboot costs a piece or two, not all of it.

There is one such file at most, for one file is fetched at a time: whoever begins another gives up the one before.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from edgeagent import files
from edgeagent.transfer import PIECE_BYTES

__all__ = ["Partial"]

#: So often it is flushed, in pieces: what waits to be written must not hold up the agent.
_FLUSH_PIECES = 16


class Partial:
    """The beginning of the upload ``upload``, in whole pieces. folder: it alone is in there."""

    def __init__(self, folder: Path, upload: str) -> None:
        self.path = files.make_folder(folder, 0o700) / f"{upload}.part"
        self._file = -1
        self._pieces = 0

    def begin(self) -> int:
        """Open it; how many pieces it has. Others are removed. Raises EdgeError when it can't be written."""
        try:
            for other in self.path.parent.iterdir():
                if other != self.path:
                    other.unlink()
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._pieces = os.fstat(self._file).st_size // PIECE_BYTES
            os.ftruncate(self._file, self._pieces * PIECE_BYTES)
        except OSError as error:
            raise files.failure(f"write {self.path}", error) from None
        return self._pieces

    async def add(self, piece: bytes) -> None:
        """Write the next piece. Raises EdgeError when it can't be written."""
        try:
            _write(self._file, piece, self._pieces * PIECE_BYTES)
            self._pieces += 1
            if self._pieces % _FLUSH_PIECES == 0:
                await asyncio.to_thread(os.fdatasync, self._file)
        except OSError as error:
            raise files.failure(f"write {self.path}", error) from None

    def close(self) -> None:
        """It stays as it is. Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """Begin at the first piece the next time."""
        self.close()
        self.path.unlink(missing_ok=True)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
