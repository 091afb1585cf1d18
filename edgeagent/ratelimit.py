"""Token buckets (pure but for the clock they are given)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["RateLimit", "RateLimits"]

Clock = Callable[[], float]


class RateLimit:
    """Allows ``burst`` things at once and ``per_second`` of them in the long run."""

    def __init__(self, per_second: float, burst: int, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._clock = per_second, float(burst), clock
        self._left, self._at = float(burst), clock()

    @property
    def open(self) -> bool:
        """Whether one more may happen now."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left >= 1

    def allow(self) -> bool:
        """Whether one more may happen now; counts it if so."""
        if not self.open:
            return False
        self._left -= 1
        return True

    def charge(self, count: float) -> None:
        """What was allowed cost as much as ``count`` more. The debt is paid off at the usual rate; it never exceeds the burst."""
        self._left = max(-self._burst, self._left - count)


class RateLimits:
    """One :class:`RateLimit` for each of many, by name, and a common one that is ``shared`` times as large.

    Names may be made up by the one who floods, so the common one counts too, and no more than ``remembered`` names are kept: those
    that were heard last.
    """

    def __init__(
        self, per_second: float, burst: int, *, shared: int = 4, remembered: int = 64, clock: Clock = time.monotonic
    ) -> None:
        self._remembered, self._shared, self._clock = remembered, shared, clock
        self.set(per_second, burst)

    def set(self, per_second: float, burst: int) -> None:
        """Count from now on with these; what was used up before is forgotten."""
        self._new: Callable[[], RateLimit] = lambda: RateLimit(per_second, burst, self._clock)
        self._common = RateLimit(per_second * self._shared, burst * self._shared, self._clock)
        self._each: OrderedDict[str, RateLimit] = OrderedDict()

    def allow(self, name: str) -> bool:
        """Whether ``name`` may do one more thing now; counts it if so."""
        own = self._each.pop(name, None) or self._new()
        self._each[name] = own
        if len(self._each) > self._remembered:
            self._each.popitem(last=False)
        return own.open and self._common.allow() and own.allow()

    def charge(self, name: str, count: float) -> None:
        """What ``name`` was allowed cost as much as ``count`` more."""
        self._common.charge(count)
        if name in self._each:
            self._each[name].charge(count)
