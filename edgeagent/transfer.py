"""Files in pieces: what both ends must agree about, and how many pieces are under way at once. Pure.

A device reads messages by their subject, one at a time (docs/decisions.md), so a file is pieces with a number each. A piece is small
enough to be over a slow link soon: what is under way when the link goes is lost.
"""

from __future__ import annotations

import hashlib
import re
import secrets

import msgspec

__all__ = ["MAX_PIECE_BYTES", "PIECE_BYTES", "PIECE_HEADER", "UPLOAD_HEADER", "HandedOver", "Pace", "is_upload", "length_of"]

#: Of every piece but the last one, which is the rest.
PIECE_BYTES = 64 << 10
#: The same with headers: the largest message of the streams.
MAX_PIECE_BYTES = PIECE_BYTES + (1 << 10)
#: Which upload of its a device's piece belongs to, and its number there.
UPLOAD_HEADER, PIECE_HEADER = "Edge-Upload", "Edge-Piece"

#: What is taken for the id of an upload.
UPLOAD_PATTERN = r"^[0-9a-f]{32}\Z"
SHA256_PATTERN = r"^[0-9a-f]{64}\Z"
#: An absolute path whose parts are names: no ``..``, nothing that is not shown.
PATH_PATTERN = r"^(/(?!\.\.?(/|\Z))[^/\x00-\x1f\x7f]{1,255})+\Z"

_FEWEST, _MOST = 1, 8
#: A piece that takes less than the first, in seconds, makes room for one more; one that takes longer than the second takes it away.
_QUICK_SECONDS, _SLOW_SECONDS = 1.0, 4.0
#: How long one piece may take: at first (52 kbit/s), and at most (4 kbit/s), in seconds.
_PATIENCE_SECONDS, _MAX_PATIENCE_SECONDS = 10.0, 120.0


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says of a file that it has stored at the hub. first: the lowest sequence of its pieces; 0: it has none."""

    upload: str
    bytes: int
    sha256: str
    pieces: int
    first: int

    def __post_init__(self) -> None:
        if not is_upload(self.upload) or not re.search(SHA256_PATTERN, self.sha256):
            raise ValueError("its upload or sha256 is none")
        if not 0 <= self.bytes <= 1 << 50 or self.pieces != pieces_of(self.bytes) or self.first < 0:
            raise ValueError("its numbers make no sense")


def new_upload() -> str:
    """A name for an upload that nobody else has."""
    return secrets.token_hex(16)


def new_digest() -> hashlib._Hash:
    """SHA-256 of a file, by OpenSSL, several times as fast as what an agent has loaded (edgeagent.assembly.lean): the first loads it."""
    return hashlib.new("sha256")


def is_upload(text: str) -> bool:
    """Whether it can be the id of an upload."""
    return re.search(UPLOAD_PATTERN, text) is not None


def pieces_of(size: int) -> int:
    """How many pieces a file of ``size`` bytes has."""
    return -(-size // PIECE_BYTES)


def length_of(number: int, size: int) -> int:
    """How many bytes piece ``number``, from 1, of a file of ``size`` bytes has."""
    return min(PIECE_BYTES, size - (number - 1) * PIECE_BYTES)


class Pace:
    """How many pieces are under way (``at_once``), and how long each may take (``seconds``): by how long those before it took."""

    def __init__(self) -> None:
        self.at_once, self.seconds = _FEWEST, _PATIENCE_SECONDS

    def arrived(self, took: float) -> None:
        """A piece is over, after so many seconds."""
        if took < _QUICK_SECONDS:
            self.at_once = min(_MOST, self.at_once + 1)
        elif took > _SLOW_SECONDS:
            self.at_once = max(_FEWEST, self.at_once - 1)

    def lost(self, took: float) -> None:
        """A piece is not over, after so many seconds. Only one that had all its time says something of the link."""
        if took >= self.seconds:
            self.at_once = max(_FEWEST, self.at_once // 2)
            self.seconds = min(_MAX_PATIENCE_SECONDS, self.seconds * 2)
