"""What is to be done about a link that looks up and carries nothing, or about a leaf that says nothing; pure but for clock and chance.

A server can take a leaf's subscriptions away without closing its link (nats-server 2.15.1 does when another account's exports or signing
keys change), and something on the way can swallow bytes without closing anything. The leaf is then connected, and deaf, for as long as
nobody acts. To dial anew mends nearly all of it; the later steps are for what is wrong in the leaf itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from enum import Enum

from edgeagent.backoff import Draw, delays

__all__ = ["LinkDoubt", "Step"]


class Step(str, Enum):
    """DIAL: the link is ended, and the leaf dials by itself. RELOAD: the leaf makes its remote anew. RESTART: all of the leaf is."""

    DIAL = "dialled"
    RELOAD = "reloaded"
    RESTART = "restarted"


#: A restart is next, where one may be, else a dial. With the pauses below it comes a quarter of an hour after the first step at the soonest.
LADDER = (Step.DIAL, Step.DIAL, Step.RELOAD, Step.DIAL, Step.DIAL, Step.DIAL)
#: Between two steps, in seconds: when the hub itself is ill, dialling does not mend it, and a whole fleet must not do it in step.
FIRST_SECONDS, CAP_SECONDS = 30.0, 900.0
#: How long a link that has just come is given at most, drawn at random: a hub that has just begun has all of its fleet there at once.
SPREAD_SECONDS = 10.0
#: A link that has worked may be slow for a moment; one that never has is doubted sooner.
FAILURES_OF_A_PROVEN_LINK = 2
#: From one restart for a link's sake to the next: local programs lose the leaf for a second or more each time.
RESTART_SECONDS = 86400.0
#: A leaf that answers nobody for so long, in at least so many questions, is restarted, and again after this pause: its local programs have nothing
#: of it anyway. A card that stalls or a machine that swaps takes a minute or two.
SILENT_SECONDS, SILENT_QUESTIONS, SILENT_PAUSE_SECONDS = 180.0, 4, 900.0

Clock = Callable[[], float]


class LinkDoubt:
    """Told how heartbeats end, it says what to do. clock: monotonic, in seconds. draw: as for :func:`edgeagent.backoff.delays`."""

    def __init__(self, clock: Clock = time.monotonic, draw: Draw = random.uniform) -> None:
        self._clock, self._draw = clock, draw
        self._failures, self._proven = 0, False
        self._not_before = self._restart_not_before = self._silent_not_before = float("-inf")
        self._questions, self._silent_since = 0, 0.0
        self._is_first = True  # the next link is, since one was good
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._steps = iter(LADDER)
        self._delays = delays(FIRST_SECONDS, CAP_SECONDS, jitter=0.5, draw=self._draw)

    def came(self) -> None:
        """The leaf connected to the hub."""
        self._failures, self._proven = 0, False
        if self._is_first:
            self._not_before = max(self._not_before, self._clock() + self._draw(0.0, SPREAD_SECONDS))
        self._is_first = False

    def acknowledged(self) -> None:
        """The hub answered."""
        self._failures, self._questions, self._proven, self._is_first = 0, 0, True, True
        self._not_before = float("-inf")
        self._begin_anew()

    def unlinked(self) -> None:
        """No answer came, and the leaf has no link: that is for the leaf to mend, and no reason to do anything to it."""
        self._questions = 0

    def unanswered(self) -> Step | None:
        """No answer came over a link that looks up. The step that should be taken now."""
        self._questions = 0
        self._failures += 1
        now = self._clock()
        if self._failures < (FAILURES_OF_A_PROVEN_LINK if self._proven else 1) or now < self._not_before:
            return None
        self._not_before = now + next(self._delays)
        return next(self._steps, None) or self._last_step(now)

    def _last_step(self, now: float) -> Step:
        if now < self._restart_not_before:
            return Step.DIAL
        self._restart_not_before = now + RESTART_SECONDS
        return Step.RESTART

    def silent(self) -> Step | None:
        """A leaf that has answered before does not even say whether it has a link. The step that should be taken now."""
        now = self._clock()
        self._silent_since = self._silent_since if self._questions else now
        self._questions += 1
        long = now - self._silent_since >= SILENT_SECONDS and self._questions >= SILENT_QUESTIONS
        if not long or now < self._silent_not_before:
            return None
        self._silent_not_before = now + SILENT_PAUSE_SECONDS
        return Step.RESTART
