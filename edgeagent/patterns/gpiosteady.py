"""The bouncing of a contact left out: a level counts once it has held for a while. Pure; times are of a clock that nobody sets."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

__all__ = ["MAX_CHANGES", "Change", "Steady"]

#: Changes that wait to be taken; then the oldest go. Who counts them knows of all.
MAX_CHANGES = 64


class Change(NamedTuple):
    """time: when it began to be so. level: 1 or 0."""

    time: float
    level: int


class Steady:
    """seconds: how long a level must hold. level: what counts. ons: how often it became 1. missed: changes to 0 and to 1 that were
    not taken in time."""

    def __init__(self, level: int, seconds: float, now: float) -> None:
        self.level, self._seconds = level, seconds
        self._raw, self._since = level, now
        self.ons, self.missed = 0, [0, 0]
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)

    @property
    def due(self) -> float | None:
        """When the level that there is now would count; None: it does."""
        return None if self._raw == self.level else self._since + self._seconds

    def edge(self, now: float, level: int) -> None:
        """It has just become ``level``."""
        self.settle(now)
        self._raw, self._since = level, now
        self.settle(now)

    def settle(self, now: float) -> None:
        """Time has gone by: what has held long enough counts."""
        if self.due is None or now < self._since + self._seconds:
            return
        self.level = self._raw
        self.ons += self.level
        if len(self._changes) == MAX_CHANGES:
            self.missed[self._changes[0].level] += 1
        self._changes.append(Change(self._since, self.level))

    def taken(self) -> list[Change]:
        """The changes since the last call, in their order."""
        found = list(self._changes)
        self._changes.clear()
        return found
