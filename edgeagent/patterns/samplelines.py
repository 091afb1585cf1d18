"""Lines out of what a program writes, bounded: in their length, their number and all together. Pure but for the clock of its rate."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgeagent.ratelimit import RateLimit

__all__ = ["MAX_LINE_BYTES", "MAX_RUN_BYTES", "Lines"]

#: The longest line, and the most that one run may write, in bytes.
MAX_LINE_BYTES, MAX_RUN_BYTES = 8 << 10, 256 << 10
#: Of a program that keeps running: so many lines at once, and a second in the long run.
BURST_LINES, LINES_A_SECOND = 1000, 20.0


class Lines:
    """take: gets each line. keeps_running: it may write for ever, but not fast; else it may write fast, but not for ever.

    too_much: what it did too much of, empty while nothing; nothing is taken any more then. problem: for the owner's use.
    """

    def __init__(
        self, take: Callable[[bytes], None], *, keeps_running: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._take = take
        self._left = None if keeps_running else MAX_RUN_BYTES
        self._rate = RateLimit(LINES_A_SECOND, BURST_LINES, clock) if keeps_running else None
        self._rest = b""
        self.too_much = self.problem = ""

    def add(self, data: bytes) -> None:
        """It wrote this."""
        if self.too_much:
            return
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self._stop(f"wrote more than {MAX_RUN_BYTES >> 10} KiB")
                return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self._stop(f"wrote a line of more than {MAX_LINE_BYTES >> 10} KiB")

    def end(self) -> None:
        """It ended; the last line need not."""
        rest, self._rest = self._rest, b""
        self._line(rest)

    def _line(self, line: bytes) -> None:
        line = line.strip()
        if not line or self.too_much:
            return
        if len(line) > MAX_LINE_BYTES:
            self._stop(f"wrote a line of more than {MAX_LINE_BYTES >> 10} KiB")
        elif self._rate and not self._rate.allow():
            self._stop(f"wrote more than {LINES_A_SECOND:g} lines a second")
        else:
            self._take(line)

    def _stop(self, what: str) -> None:
        self.too_much, self._rest = what, b""
