"""How fast the forwarder may send, and when what waits is due: arithmetic on seconds, the clock is given."""

from __future__ import annotations

from collections import deque

__all__ = ["Due", "Pace", "Rate"]


class Pace:
    """Spreads bytes so that they are ``bytes_per_second`` in the long run; 0: no bound. Several may send by one pace."""

    def __init__(self, bytes_per_second: int = 0) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def spend(self, count: int, now: float) -> None:
        """So many bytes were sent."""
        self._free_at = max(self._free_at, now)
        if self.bytes_per_second:
            self._free_at += count / self.bytes_per_second

    def pause(self, now: float) -> float:
        """How long to wait before anything more may be sent, in seconds."""
        return max(0.0, self._free_at - now) if self.bytes_per_second else 0.0


class Due:
    """Whether what waits has waited long enough for others to go with it."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._hastened = False

    def hasten(self) -> None:
        """What waits, or will, is not to wait for others."""
        self._hastened = True

    def look(self, waiting: int, now: float) -> float:
        """For how long something has waited, in seconds, as far as was looked; 0 when nothing does, infinity when it is not to wait."""
        if not waiting:
            self._since = None
            return 0.0
        if self._since is None:
            self._since = now
        return float("inf") if self._hastened else now - self._since

    def emptied(self) -> None:
        """All that was there went; what comes now begins to wait."""
        self._since, self._hastened = None, False


class Rate:
    """How many a second, over the last ``seconds``."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds, self._counts = seconds, deque[tuple[float, int]](maxlen=1000)

    def add(self, count: int, now: float) -> None:
        """So many more."""
        self._counts.append((now, count))

    def value(self, now: float) -> float:
        return sum(count for at, count in self._counts if now - at <= self._seconds) / self._seconds
