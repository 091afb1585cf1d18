"""Whose word counts for the time: this machine's own while something keeps it right and after, then the hub's, within bounds."""

from __future__ import annotations

import time
from typing import Any

from edgeagent.patterns.knowntime import KnownTime

DAY = 86400.0


class Clock:
    """What a device has besides the hub: whether its clock is kept right, and the last moment that somebody signed."""

    def __init__(self, *, synchronized: bool = False, floor: float = 0.0) -> None:
        self.synchronized, self.floor = synchronized, floor
        nobody: Any = None
        self.known = KnownTime(
            nobody,
            "pi-1",
            synchronized=lambda: self.synchronized,
            floor=lambda: self.floor,
            heartbeat=bytes,
            on_known=lambda: None,
        )

    def hub_says(self, off: float) -> None:
        """off: seconds from the true time."""
        self.known._ahead = time.time() + off - time.monotonic()

    @property
    def off(self) -> float:
        """How far it is from the true time, in whole days."""
        now = self.known.now()
        assert now is not None
        return round((now - time.time()) / DAY)


def test_it_is_not_known_at_first_and_nothing_is_forgotten() -> None:
    clock = Clock(floor=5.0)
    assert clock.known.now() is None and clock.known.past() == 5.0
    assert Clock().known.past() == 0.0


def test_the_hub_can_not_say_less_than_people_signed() -> None:
    clock = Clock(floor=time.time() - 2 * DAY)
    clock.hub_says(-1 * DAY)
    assert clock.off == -1
    clock.hub_says(-5 * DAY)
    assert clock.off == -2


def test_nothing_is_forgotten_by_the_hubs_word() -> None:
    clock = Clock(floor=time.time() - 2 * DAY)
    clock.hub_says(30 * DAY)
    assert clock.off == 30 and clock.known.past() == clock.floor
    clock.floor = time.time() + 30 * DAY
    assert clock.known.past() < time.time() + DAY


def test_a_clock_that_was_kept_right_counts_on() -> None:
    clock = Clock(synchronized=True)
    clock.hub_says(-5 * DAY)
    assert clock.off == 0
    clock.synchronized = False
    assert clock.off == 0 and round((clock.known.past() - time.time()) / DAY) == 0
