"""The time of day: told by the agent, or by a time server. Certificates are checked against the board's own clock, which is set with it."""

import os
import time

import udp
from ticks import ticks_add, ticks_diff, ticks_ms

#: Between these the time is believed, in Unix milliseconds: 2024 and 2100. A board's clock begins in 2021.
FIRST, LAST = 1704067200000, 4102444800000
#: A time that is as near as this to ours changes nothing, in milliseconds: the messages took some time themselves.
NEAR_MS = 2000
_1900 = 2208988800
#: Seconds of 1970 at the zero of this interpreter's clock.
_ZERO = 946684800 if time.gmtime(0)[0] == 2000 else 0


def set_board(unix_seconds):
    """Set the board's clock. What has none is left alone."""
    try:
        from machine import RTC
    except ImportError:
        return
    year, month, day, hour, minute, second, weekday = time.gmtime(unix_seconds - _ZERO)[:7]
    RTC().datetime((year, month, day, weekday, hour, minute, second, 0))


class Clock:
    """unix_ms() has to be called every few days at least: milliseconds since the start wrap. set_board(unix_seconds) sets the hardware's."""

    def __init__(self, set_board=set_board):
        self._set_board = set_board
        now = (time.time() + _ZERO) * 1000
        self._unix_ms = int(now) if FIRST < now < LAST else None  # it goes on through a soft reset
        self._at = ticks_ms()

    @property
    def is_known(self):
        return self._unix_ms is not None

    def unix_ms(self):
        """Unix milliseconds; None: not known."""
        if self._unix_ms is None:
            return None
        passed = ticks_diff(ticks_ms(), self._at)
        self._at = ticks_add(self._at, passed)
        self._unix_ms += passed
        return self._unix_ms

    def set(self, unix_ms):
        """Somebody says what time it is; False: that can't be."""
        if isinstance(unix_ms, bool) or not isinstance(unix_ms, (int, float)) or not FIRST < unix_ms < LAST:
            return False
        now = self.unix_ms()
        if now is None or abs(unix_ms - now) > NEAR_MS:
            self._unix_ms, self._at = int(unix_ms), ticks_ms()
            self._set_board(int(unix_ms) // 1000)
        return True

    async def ask(self, address, port=123, tries=(1, 2)):
        """Set it by a time server (SNTP). tries: seconds to wait after each time it is asked. Returns whether that answered with a time that can be."""
        mark = os.urandom(8)  # what is not an answer to this is somebody else's
        question = b"\x23" + bytes(39) + mark
        answer = await udp.ask((address, port), question, lambda data: _is_time(data, mark), tries)
        return answer is not None and self.set((int.from_bytes(answer[40:44], "big") - _1900) * 1000)


def _is_time(data, mark):
    return len(data) >= 48 and data[0] & 7 == 4 and 0 < data[1] < 16 and bytes(data[24:32]) == mark


def said():
    """What the board's own clock says, for people."""
    return "%04d-%02d-%02d %02d:%02d UTC" % tuple(time.gmtime()[:5])
