"""Milliseconds that count up and wrap, as MicroPython has them; the same on a desktop."""

try:
    from time import ticks_add, ticks_diff, ticks_ms
except ImportError:  # CPython
    from time import monotonic

    _PERIOD = 1 << 30

    def ticks_ms():
        return int(monotonic() * 1000) % _PERIOD

    def ticks_add(ticks, delta):
        return (ticks + delta) % _PERIOD

    def ticks_diff(end, start):
        """end - start, right for up to 6.2 days either way."""
        return (end - start + _PERIOD // 2) % _PERIOD - _PERIOD // 2


__all__ = ["Uptime", "ticks_add", "ticks_diff", "ticks_ms"]


class Uptime:
    """Milliseconds since ``now``, which do not wrap; right when asked at least every 6 days. ms: when it was asked last."""

    def __init__(self, now):
        self._last, self.ms = now, 0

    def at(self, now):
        passed = ticks_diff(now, self._last)
        if passed > 0:
            self.ms += passed
            self._last = now
        return self.ms
