"""A digital input, 1 or 0, without the bouncing of contacts. A change is a reading at once."""

import board
from checks import NEEDED, flag, one_of, whole
from ticks import ticks_diff, ticks_ms

from sensors import kind

_AGAIN_MS = 100  # a wire that flutters gives 10 readings a second, and no more; how it ends up is always told


@kind(
    "digital",
    pin=(whole(0, 29), NEEDED),
    pull=(one_of("up", "down"), None),
    inverted=(flag, False),
    debounce_ms=(whole(0, 5000), 30),
)
class Digital:
    def __init__(self, pin, pull, inverted, debounce_ms):
        self._get, self._inverted, self._debounce_ms = board.digital(pin, pull), inverted, debounce_ms
        self._since = self._told_at = ticks_ms()
        self._raw = self._value = self._told = self._look()

    def _look(self):
        return int(bool(self._get()) != self._inverted)

    def changed(self, now):
        raw = self._look()
        if raw != self._raw:
            self._raw, self._since = raw, now
        if ticks_diff(now, self._since) >= self._debounce_ms:
            self._value = raw
        if self._value == self._told or 0 <= ticks_diff(now, self._told_at) < _AGAIN_MS:  # after 6 days it is negative
            return False
        self._told_at = now
        return True

    def read(self):
        self._told = self._value
        return {"": self._value}
