"""Counts what happens and says when it is to be told: one event for many, and less and less often while it goes on. Pure.

Several instances of the hub's services hear the same and count it each for itself. Whoever tells first is heard by the others, which begin anew.
So they are patient in different ways, and nothing is told that somebody else just told.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from edgeagent.hub.alarms import Alarm

__all__ = ["MINUTE", "Due", "Tally"]

#: So long nothing is told of a kind that was told, in seconds; twice as long each time while it goes on, up to an hour.
MINUTE, HOUR = 60.0, 3600.0
#: Those to whom it happened, of one kind: whoever floods may have any number of addresses.
TALKERS = 64
#: What was told so short a time ago was told by ourselves, or by somebody who meant the same, in seconds.
SAME_SECONDS = 10.0


class Due(NamedTuple):
    """An event that is to be told."""

    alarm: Alarm
    severity: str
    text: str
    times: int
    who: str


class _Kind:
    """began: when the first of what is not told yet happened."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm, self.talkers = alarm, Counter[str]()
        self.count, self.began = 0, 0.0
        self.told, self.pause = float("-inf"), 0.0

    @property
    def open_at(self) -> float:
        return max(self.began, self.told + self.pause)

    @property
    def most(self) -> tuple[str, int]:
        """To whom it happened most often, and how often; everything counts where nobody is known."""
        return self.talkers.most_common(1)[0] if self.talkers else ("?", self.count)

    @property
    def is_enough(self) -> bool:
        return self.most[1] >= self.alarm.least


class Tally:
    """patience: how long to gather before something is told, in seconds; each instance's own. Times are monotonic, in seconds.

    totals: how often each kind happened, for ever.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._kinds: dict[str, _Kind] = {}
        self.totals: Counter[str] = Counter()

    def add(self, alarm: Alarm, who: str, now: float, count: int = 1) -> None:
        """It happened. who: empty: not known."""
        kind = self._kinds.setdefault(alarm.kind, _Kind(alarm))
        if not kind.count:
            kind.began = now
        kind.count += count
        self.totals[alarm.kind] += count
        if who:
            _count(kind.talkers, who, count)

    def due(self, now: float) -> list[Due]:
        """What is to be told now. It stays so until it is :meth:`told`."""
        found = []
        for kind in self._kinds.values():
            if not kind.count or kind.open_at + self._patience > now:
                continue
            if kind.is_enough:
                found.append(_due(kind, kind.most[0], now))
            elif now - kind.began >= MINUTE:
                _begin_anew(kind)
        return found

    def next_due(self, now: float) -> float | None:
        """In how many seconds something may be due, or be forgotten because it was too little; None: nothing is counted."""
        times = [self._look_at(kind) for kind in self._kinds.values() if kind.count]
        return max(0.0, min(times) - now) if times else None

    def _look_at(self, kind: _Kind) -> float:
        told = kind.open_at + self._patience
        return told if kind.is_enough else max(told, kind.began + MINUTE)

    def told(self, kind_name: str, now: float) -> None:
        """Somebody, we or another instance, has told it."""
        kind = self._kinds.get(kind_name)
        if kind is None or now - kind.told < SAME_SECONDS:
            return
        goes_on = now - kind.told < 2 * kind.pause + MINUTE
        kind.pause = min(HOUR, kind.pause * 2) if goes_on and kind.pause else MINUTE
        kind.told = now
        _begin_anew(kind)


def _begin_anew(kind: _Kind) -> None:
    kind.count = 0
    kind.talkers.clear()


def _count(talkers: Counter[str], who: str, count: int) -> None:
    """The frequent ones stay whoever comes (Misra and Gries, 1982)."""
    if who in talkers or len(talkers) < TALKERS:
        talkers[who] += count
        return
    for each in list(talkers):
        talkers[each] -= 1
        if not talkers[each]:
            del talkers[each]


def _due(kind: _Kind, who: str, now: float) -> Due:
    alarm, minutes = kind.alarm, max(1.0, (now - kind.began) / MINUTE)
    severity = alarm.few if alarm.few and kind.count / minutes < alarm.many else alarm.severity
    return Due(alarm, severity, alarm.text.format(count=kind.count, who=who), kind.count, who)
