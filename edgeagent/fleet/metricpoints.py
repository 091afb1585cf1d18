"""Samples out of the chunks that devices stored: which are told, in which order, and what was left out and why. Pure.

Nothing in a chunk is to be trusted but whose it is: the hub's subject proves that. A chunk that makes no sense, has more samples than a
device of ours would store, or samples of times to come costs its own device those, and nobody else anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import NamedTuple

from edgeagent.chunk import decode_metrics, points_of
from edgeagent.direct import Stored
from edgeagent.errors import Failed
from edgeagent.fleet.leftout import LeftOut, latest_of
from edgeagent.sample import Sample
from edgeagent.subjects import device_of

__all__ = ["ALL", "MAX_POINTS", "Measured", "Wanted", "measured"]

#: One local message of 32 KiB has at most so many samples, and a chunk at most one such message or 500.
MAX_POINTS = 20_000


class Measured(NamedTuple):
    """One sample. time_ms: Unix milliseconds. estimated: the device did not know the time, and guessed."""

    device: str
    source: str
    sample: Sample
    time_ms: int
    estimated: bool = False

    @property
    def series(self) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
        """What tells it from what else is measured."""
        return self.device, self.source, self.sample.metric, tuple(sorted(self.sample.attributes.items()))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which samples are wanted. metric: a name with ``*`` and ``?``, empty for all. source: empty for all. attributes: all must be
    there. since_ms, until_ms: Unix milliseconds, the first one included."""

    metric: str = ""
    source: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    since_ms: int = 0
    until_ms: int = 1 << 62

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", re.compile(translate(self.metric or "*")))

    def of(self, points: Iterable[Measured]) -> list[Measured]:
        """Those of ``points``."""
        names: re.Pattern[str] = vars(self)["_names"]
        return [
            point
            for point in points
            if self.since_ms <= point.time_ms < self.until_ms
            and (not self.metric or names.match(point.sample.metric))
            and (not self.source or self.source == point.source)
            and all(point.sample.attributes.get(key) == value for key, value in self.attributes.items())
        ]


#: Every sample.
ALL = Wanted()


def measured(stored: Stored, left: LeftOut) -> list[Measured]:
    """The samples of one chunk by their time. A chunk that does not hold together has none; ``left`` is told."""
    device, latest = device_of(stored.subject), latest_of(stored)
    try:
        chunk = decode_metrics(stored.data)
        if len(chunk.of) > MAX_POINTS:
            raise Failed("read a chunk", f"it has {len(chunk.of)} samples")
        found = [Measured(device, *point) for point in points_of(chunk)]
    except Failed as error:
        left.spoil(device, error.why)
        return []
    told = [point for point in found if point.time_ms <= latest]
    left.count_ahead(device, len(found) - len(told))
    return sorted(told, key=lambda point: point.time_ms)
