"""Which readings of a microcontroller were taken: its numbers within each boot, without holes. Pure.

What was taken stands beside the samples in the very message that stores them, so the two never disagree, whatever is killed when.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Order", "Taken", "Verdict"]

#: Boots that are remembered: a microcontroller that keeps readings in its flash may bring those of an earlier boot after newer ones.
MAX_BOOTS = 8
#: More than this nobody counts: what a microcontroller makes up must fit into a number of 64 bits, for all boots together.
MAX_LOST = 1 << 53

Verdict = Literal["new", "again", "early"]


class Taken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """boots: of each boot, the oldest first, the highest reading that was taken, and how many the microcontroller itself dropped.

    lost_before: what was dropped in boots that are not remembered any more.
    """

    boots: dict[str, tuple[int, int]] = {}
    lost_before: int = 0

    @property
    def lost(self) -> int:
        """Readings that never came, of all boots."""
        return self.lost_before + sum(lost for _, lost in self.boots.values())


class Order:
    """taken: what is known from before."""

    def __init__(self, taken: Taken | None = None) -> None:
        self._taken = taken or Taken()

    @property
    def taken(self) -> Taken:
        return self._taken

    def last(self, boot: str) -> int:
        """The highest reading of the boot that was taken; 0: none."""
        return self._taken.boots.get(boot, (0, 0))[0]

    def hello(self, boot: str, oldest: int, lost: int) -> None:
        """What it still has begins with ``oldest`` (0: not said), and it has dropped so many of this boot."""
        last, known = self._taken.boots.get(boot, (0, 0))
        self._set(boot, max(last, oldest - 1), max(lost, known))

    def judge(self, boot: str, seq: int, oldest: int) -> Verdict:
        """Whether the reading is the next one and to be taken now, one that was taken, or one that comes before others that are missing."""
        last = max(self.last(boot), oldest - 1)
        if seq <= last:
            return "again"
        if seq > last + 1:
            return "early"
        self._set(boot, seq, self._taken.boots.get(boot, (0, 0))[1])
        return "new"

    def _set(self, boot: str, last: int, lost: int) -> None:
        if self._taken.boots.get(boot) == (last, lost):
            return
        boots = {key: value for key, value in self._taken.boots.items() if key != boot}
        before = self._taken.lost_before
        while len(boots) >= MAX_BOOTS:
            oldest = next(iter(boots))
            before = min(before + boots.pop(oldest)[1], MAX_LOST)
        self._taken = Taken(boots={**boots, boot: (last, lost)}, lost_before=before)
