"""Frames on a serial line that also carries a REPL, prints and tracebacks: ``RS JSON TAB CRC LF``. Pure; bytes in, bytes out.

RS is the record separator 0x1E, CRC the CRC-32 of the JSON (zlib's) as 8 lower case hex digits. All of it is text: a binary frame
could contain Ctrl-C, which interrupts MicroPython. What is not in a frame is a line of the log.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

__all__ = ["MAX_FRAME_BYTES", "Decoder", "Found", "encode"]

#: The longest frame, with everything around it, in bytes: MicroPython's USB input holds 512, and a Pico has no memory to spare.
MAX_FRAME_BYTES = 1024
_RS, _TAB, _LF = b"\x1e", b"\t", b"\n"
_AROUND = len(_RS) + len(_TAB) + 8 + len(_LF)


class Found(NamedTuple):
    """is_frame: ``data`` is the JSON of a frame; else it is a line of the log without its end."""

    is_frame: bool
    data: bytes


def encode(payload: bytes) -> bytes:
    """A frame with ``payload``, one line of JSON. Raises ValueError when it is none, or too long."""
    if _RS in payload or _LF in payload or len(payload) + _AROUND > MAX_FRAME_BYTES:
        raise ValueError(f"a frame is one line of at most {MAX_FRAME_BYTES - _AROUND} bytes")
    return _RS + payload + _TAB + _crc(payload) + _LF


def _crc(payload: bytes) -> bytes:
    return b"%08x" % zlib.crc32(payload)


class Decoder:
    """Finds the frames in what is read, however it is torn. damaged: frames that were begun and not whole, since the beginning."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False
        self.damaged = 0

    def feed(self, data: bytes) -> list[Found]:
        """The frames and lines that end in ``data``, in order."""
        *lines, self._rest = (self._rest + data).split(_LF)
        found = [each for line in lines for each in self._line(line)]
        if len(self._rest) > MAX_FRAME_BYTES:
            found += self._too_long()
        return found

    def _line(self, line: bytes) -> list[Found]:
        before, separator, frame = line.rpartition(_RS)
        if self._skipping and not separator:  # the end of a line that was given up
            self._skipping = False
            return []
        skipped, self._skipping = self._skipping, False
        logged = [] if skipped or not separator else self._log(before)
        if not separator:
            return self._log(frame)
        payload = _payload(frame.rstrip(b"\r"))
        if payload is None:
            self.damaged += 1
            return logged
        return [*logged, Found(True, payload)]

    def _log(self, text: bytes) -> list[Found]:
        """What stands before a frame, without the beginnings of others that were torn."""
        text, *torn = text.split(_RS)
        self.damaged += len(torn)
        text = text.rstrip(b"\r")
        return [Found(False, text[:MAX_FRAME_BYTES])] if text else []

    def _too_long(self) -> list[Found]:
        """No frame is so long: keep what may be the beginning of one."""
        before, separator, frame = self._rest.rpartition(_RS)
        if separator and len(frame) < MAX_FRAME_BYTES:
            self._rest = separator + frame
            logged = [] if self._skipping else self._log(before)
            self._skipping = False
            return logged
        logged = [] if self._skipping else self._log(self._rest)
        self._rest, self._skipping = b"", True
        return logged


def _payload(frame: bytes) -> bytes | None:
    """What a whole frame holds, None for a damaged one. The digits are compared as they are: ``A`` is no ``a`` here."""
    payload, tab, crc = frame[:-9], frame[-9:-8], frame[-8:]
    return payload if payload and tab == _TAB and crc == _crc(payload) and len(frame) + 2 <= MAX_FRAME_BYTES else None
