"""How long to wait before the next try: pure numbers, no clock.

Delays double up to a cap and are drawn at random ("full jitter"), so that a fleet that lost its hub does not come back in step.
A try that only looked good must not bring the short delays back: a server that ends a second after each start would be started
for ever at full speed. So the count begins anew only after the thing was good for a while.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

__all__ = ["Backoff", "delays"]

Draw = Callable[[float, float], float]


def delays(first_seconds: float, cap_seconds: float, jitter: float = 1.0, *, draw: Draw = random.uniform) -> Iterator[float]:
    """Delays in seconds, for ever.

    first_seconds: the bound of the first delay; the bound doubles each time, up to cap_seconds.
    jitter: how much of a delay is left to chance. 1 is full jitter (0 up to the bound), 0 none (the bound itself).
    draw: ``draw(low, high)`` picks a number between the two.
    Raises ValueError when the numbers make no sense.
    """
    if not 0 < first_seconds <= cap_seconds or not 0 <= jitter <= 1:
        raise ValueError(f"no delays from {first_seconds} s up to {cap_seconds} s with jitter {jitter}")
    return _doubling(first_seconds, cap_seconds, jitter, draw)


def _doubling(bound: float, cap: float, jitter: float, draw: Draw) -> Iterator[float]:
    while True:
        yield draw(bound * (1 - jitter), bound)
        bound = min(cap, bound * 2)


class Backoff:
    """The delays of one thing that is tried again and again, with the rule for beginning anew.

    good_seconds: a try that was good for at least this long brings the first, short delay back.
    The other arguments are those of :func:`delays`.
    """

    def __init__(
        self,
        first_seconds: float,
        cap_seconds: float,
        jitter: float = 1.0,
        *,
        good_seconds: float,
        draw: Draw = random.uniform,
    ) -> None:
        self._good_seconds = good_seconds
        self._fresh: Callable[[], Iterator[float]] = lambda: delays(first_seconds, cap_seconds, jitter, draw=draw)
        self._delays = self._fresh()

    def next(self, good_for_seconds: float = 0.0) -> float:
        """The delay before the next try, in seconds.

        good_for_seconds: how long the last try was good before it ended; 0 when it never was.
        """
        if good_for_seconds >= self._good_seconds:
            self._delays = self._fresh()
        return next(self._delays)
