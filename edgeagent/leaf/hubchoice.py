"""Which hub the leaf is to be linked to, out of those that are wanted; pure but for clock and chance.

A way that works is never given up for one that was not seen to work: another hub is visited first, beside the link. Only when the hub
there has stored something is the leaf sent there, and it comes back when no heartbeat is acknowledged after all. A hub is blamed only
when the way back has worked right after it failed: while nothing works, it is the device's own network, and nothing is decided.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from edgeagent.backoff import Draw, delays
from edgeagent.hubentries import is_open
from edgeagent.leaf.hubkept import Kept

__all__ = ["Go", "HubChoice", "Moved", "Pause", "Visit"]

#: Devices that are told of another hub at once do not come there at once; nor do those that start together. In seconds.
SPREAD_SECONDS, START_SECONDS = 10.0, 30.0
#: How long the leaf may take at a hub that let a visitor in until a heartbeat is acknowledged: two or three dials. In seconds.
TRIAL_SECONDS = 75.0
#: A hub that said nothing is visited once more before it is blamed, so long after, in seconds.
ONCE_MORE_SECONDS = 5.0
#: The way back has to work so soon after a hub failed, or it was not the hub's fault, in seconds.
BLAME_SECONDS = 90.0
#: A hub that was given up is visited again after so long, plus or minus half, in seconds.
GIVEN_UP_SECONDS = 6 * 3600.0
#: Bounds of the pause before a hub is visited again of which nothing bad is known but that it did not work, in seconds.
AGAIN_SECONDS = (60.0, 900.0)
#: The hub that is linked to may be away for so long before others are visited: those that are wanted, and those that once were. In
#: seconds. A hub that is restarted or upgraded is away for a minute or two; nobody is to go back for an hour of it.
AWAY_SECONDS, LONG_AWAY_SECONDS = 240.0, 3600.0
#: What was begun so often in vain because the agent ended in the midst of it is given up.
MAX_TRIES = 3


class Pause(NamedTuple):
    """Nothing is to be done for so many seconds; None: until something happens."""

    seconds: float | None


class Visit(NamedTuple):
    """Look whether this entry works, beside the link."""

    entry: str


class Go(NamedTuple):
    """Send the leaf there."""

    entry: str


class Moved(NamedTuple):
    """to: the entry. why: it could not be linked to, so the leaf stays at, or is back on, ``at``; empty: the leaf is linked to it now."""

    to: str
    at: str
    why: str = ""


@dataclass
class _Trial:
    back: str
    until: float


@dataclass
class _Blame:
    """It failed; whether that is its own fault is told by the way back. acknowledged: that has worked since."""

    entry: str
    why: str
    until: float
    acknowledged: bool = False


@dataclass
class _Record:
    """not_before: when to visit it again; again: while nothing works. why: it was given up, and until ``given_up_until`` nobody goes there
    who has another hub. silent: it has said nothing once."""

    pauses: Iterator[float]
    not_before: float = float("-inf")
    again: float = float("-inf")
    given_up_until: float = float("-inf")
    silent: bool = False
    why: str = ""


class HubChoice:
    """Told what happens, it says what to do. Every entry is one of ``hub.urls``.

    wanted: the entries that count. own: those that the device itself was given, where it looks last. clock: monotonic, in seconds.
    draw: as for :func:`edgeagent.backoff.delays`.
    """

    def __init__(
        self,
        wanted: Sequence[str],
        own: Sequence[str] = (),
        kept: Kept | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Draw = random.uniform,
    ) -> None:
        self._own, self._clock, self._draw = tuple(own), clock, draw
        self.began = kept = kept or Kept()
        #: What must be on the disk while nothing is tried.
        self.kept = msgspec.structs.replace(kept, trying="")
        self._wanted, self._records = tuple(wanted), dict[str, _Record]()
        #: What the leaf is told.
        self.current = kept.trying or kept.good or next(iter(wanted), "")
        self.news: list[Moved] = []
        self._works, self._since = False, clock()
        self._trial: _Trial | None = None
        self._blame: _Blame | None = None
        self._next: Go | None = None
        self._hold_off(START_SECONDS)
        if kept.trying:
            self._return(kept)

    def _return(self, kept: Kept) -> None:
        """From where the leaf was when the last agent ended."""
        if kept.tries >= MAX_TRIES:
            self._give_up(kept.trying, f"the agent ended {kept.tries} times while it tried it", kept.good)
        self._next = Go(kept.good) if kept.good else None

    # ---- what it is told ----

    def wish(self, wanted: Sequence[str]) -> None:
        """Other entries count now; what was given up may be tried at once."""
        if tuple(wanted) == self._wanted or not wanted:
            return
        self._wanted, self._records = tuple(wanted), {}
        self.kept = msgspec.structs.replace(self.kept, tries=0)
        self._hold_off(SPREAD_SECONDS)
        self._blame = None
        if self._trial and self.current not in wanted:
            self._next = Go(self._trial.back)
        elif self._next and self._next.entry not in (*wanted, self.kept.good):
            self._next = None

    def acknowledged(self) -> None:
        """The hub has stored a heartbeat that was sent over the link to the current entry."""
        self._works = True
        if self._blame and self._blame.entry == self.current:
            self._blame = self._next = None  # it works after all
        elif self._blame:
            self._blame.acknowledged = True
        if self._next is None:
            self._trial = None
            self._settle(self.kept.good)

    def _settle(self, before: str) -> None:
        self._records.pop(self.current, None)
        if before == self.current:
            return
        self.kept = Kept(good=self.current, before=before)
        if before:
            self.news.append(Moved(self.current, self.current))

    def failed(self) -> None:
        """A heartbeat was not acknowledged, or the link ended."""
        if self._works:
            self._works, self._since = False, self._clock()

    def visited(self, entry: str, why: str, *, is_certain: bool = True) -> None:
        """It was visited. why: it does not work; empty: it does. is_certain: that will not change by itself."""
        record, now = self._record(entry), self._clock()
        if not why:
            if entry in (*self._wanted, *self._others()):
                self._next = Go(entry)
            return
        if not self._works:  # perhaps nothing does
            record.again = now + next(record.pauses)
        elif not is_certain and not record.silent:
            record.silent, record.not_before = True, now + ONCE_MORE_SECONDS
        else:
            record.silent = False
            self._blame = _Blame(entry, why, now + BLAME_SECONDS)

    def went(self, entry: str) -> None:
        """The leaf was told to go there."""
        returned = entry == self.kept.good or (self._trial is not None and entry == self._trial.back)
        self._trial = None if returned else _Trial(self.current, self._clock() + TRIAL_SECONDS)
        self.current, self._next, self._works, self._since = entry, None, False, self._clock()

    def could_not_go(self, entry: str, why: str) -> None:
        """The leaf does not take it."""
        self._next = None
        self._give_up(entry, why, self.current)

    # ---- what it says ----

    @property
    def works(self) -> bool:
        """Whether the newest heartbeat was acknowledged where the leaf is now."""
        return self._works

    @property
    def is_trying(self) -> bool:
        """Whether the leaf is where no heartbeat has been acknowledged yet."""
        return self._trial is not None

    @property
    def wants_proof(self) -> bool:
        """Whether a heartbeat now would decide something."""
        return self._blame is not None and not self._blame.acknowledged

    @property
    def given_up(self) -> dict[str, str]:
        """The wanted entries that do not work, and why."""
        return {entry: why for entry in self._wanted if (why := self._record(entry).why)}

    def keeping(self, entry: str) -> Kept:
        """What must be on the disk before the leaf is told to go to ``entry``."""
        kept = self.kept
        return kept if entry == kept.good else msgspec.structs.replace(kept, trying=entry, tries=kept.tries + 1)

    def trial_failed(self, why: str) -> None:
        """No heartbeat was acknowledged at the current entry for the whole trial: go back, and see whether that works."""
        if self._trial is None:
            return
        entry = self.current
        record = self._record(entry)
        record.not_before = self._clock() + next(record.pauses)
        self._blame = _Blame(entry, why, self._clock() + BLAME_SECONDS)
        self._next = Go(self._trial.back)

    def decide(self) -> Visit | Go | Pause:
        """What is to be done now."""
        now = self._clock()
        if self._next is not None:
            return self._next
        if self._trial is not None:
            return Pause(max(0.0, self._trial.until - now))
        if self._blame is not None and (pause := self._judge(self._blame, now)) is not None:
            return pause
        due = [(max(self._record(entry).not_before, first), entry) for first, entry in self._possible()]
        ready = [entry for moment, entry in due if moment <= now]
        return Visit(ready[0]) if ready else Pause(min(moment for moment, _ in due) - now if due else None)

    @property
    def is_over(self) -> bool:
        """Whether the trial has taken all of its time."""
        return self._trial is not None and self._next is None and self._clock() >= self._trial.until

    def _judge(self, blame: _Blame, now: float) -> Pause | None:
        """Give the entry up, or not; a pause while that can't be told."""
        if not blame.acknowledged and now < blame.until:
            return Pause(blame.until - now)
        self._blame = None
        if blame.acknowledged:
            self._give_up(blame.entry, blame.why, self.current)
        else:
            record = self._record(blame.entry)
            record.not_before = now + next(record.pauses)
        return None

    def _give_up(self, entry: str, why: str, at: str) -> None:
        record = self._record(entry)
        record.given_up_until = self._clock() + self._draw(GIVEN_UP_SECONDS * 0.5, GIVEN_UP_SECONDS * 1.5)
        if record.why != why and entry in self._wanted:
            self.news.append(Moved(entry, at, why))
        record.why = why

    def _possible(self) -> list[tuple[float, str]]:
        """From when on which entry may be visited, the most wanted first: better ones while the link is good, else all others."""
        wanted = self._wanted
        if self._works:
            better = wanted[: wanted.index(self.current)] if self.current in wanted else wanted
            return [(self._record(entry).given_up_until, entry) for entry in better]
        first = dict.fromkeys(self._others(), LONG_AWAY_SECONDS) | dict.fromkeys(wanted, AWAY_SECONDS)
        others = [entry for entry in (*wanted, *self._others()) if entry != self.current]
        return [(max(self._since + first[entry], self._record(entry).again), entry) for entry in others]

    def _others(self) -> list[str]:
        """Where a hub may be that is not wanted any more: better than none. Not without TLS where it was there before."""
        kept = self.kept
        was_open = is_open(kept.good or self.current)
        known = dict.fromkeys([kept.good, kept.before, *self._own])
        return [entry for entry in known if entry and entry not in self._wanted and (was_open or not is_open(entry))]

    def _record(self, entry: str) -> _Record:
        if entry not in self._records:
            self._records[entry] = _Record(delays(*AGAIN_SECONDS, jitter=0.5, draw=self._draw))
        return self._records[entry]

    def _hold_off(self, seconds: float) -> None:
        moment = self._clock() + self._draw(0.0, seconds)
        for entry in self._wanted:
            self._record(entry).not_before = moment
