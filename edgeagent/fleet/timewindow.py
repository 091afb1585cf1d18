"""Putting what devices sent into the order of its times, within bounds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from edgeagent.fleet.leftout import LeftOut

__all__ = ["Window"]


class _Timed(Protocol):
    @property
    def device(self) -> str: ...

    @property
    def time_ms(self) -> int: ...


T = TypeVar("T", bound=_Timed)


class Window(Generic[T]):
    """Puts items in the order of their times, of all devices together, with room for ``size`` to twice as much.

    A device that was away sends what is new at once, and what is older in between. The newest items wait, so a backlog passes through
    however long it is, as long as less than ``size`` of newer ones comes with it. What comes later than that is told where it comes,
    and ``left`` counts it. cost: what one item takes of the room; None: 1.
    """

    def __init__(self, left: LeftOut, size: int = 50_000, cost: Callable[[T], int] | None = None) -> None:
        self._left, self._size, self._cost = left, size, cost
        self._waiting: list[T] = []
        self._full = 0
        self._told: dict[str, int] = {}

    def add(self, items: Iterable[T]) -> list[T]:
        """Take some; those that are to be told now."""
        items = list(items)
        self._waiting += items
        self._full += len(items) if self._cost is None else sum(map(self._cost, items))
        if self._full < 2 * self._size:
            return []
        self._waiting.sort(key=_time)
        return self._tell(self._over())

    def rest(self) -> list[T]:
        """All that still wait: there are no more."""
        self._waiting.sort(key=_time)
        return self._tell(len(self._waiting))

    def _over(self) -> int:
        """How many of the oldest must go, so that the others fit."""
        if self._cost is None:
            return len(self._waiting) - self._size
        left, count = self._full, 0
        while left > self._size:
            left -= self._cost(self._waiting[count])
            count += 1
        return count

    def _tell(self, count: int) -> list[T]:
        told, self._waiting = self._waiting[:count], self._waiting[count:]
        self._full -= len(told) if self._cost is None else sum(map(self._cost, told))
        for item in told:
            if item.time_ms < self._told.get(item.device, 0):
                self._left.late += 1
            else:
                self._told[item.device] = item.time_ms
        return told


def _time(item: _Timed) -> int:
    return item.time_ms
