"""Samples out of the chunks that devices stored: which are told, in which order, and what was left out and why. Pure.

Nothing in a chunk is to be trusted but whose it is: the hub's subject proves that. A chunk that makes no sense, has more samples than a
device of ours would store, or samples of times to come costs its own device those, and nobody else anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from edgeagent.chunk import MetricChunk, decode_metrics
from edgeagent.direct import Stored
from edgeagent.errors import Failed
from edgeagent.fleet.leftout import LeftOut, latest_of
from edgeagent.sample import Sample
from edgeagent.subjects import device_of

__all__ = ["ALL", "MAX_POINTS", "Measured", "Series", "Wanted", "measured"]

#: One local message of 32 KiB has at most so many samples, and a chunk at most one such message or 500.
MAX_POINTS = 20_000
#: Values are numbers that every program can store; see :class:`edgeagent.sample.Sample`.
_MAX_VALUE = float(1 << 63)
_WHAT = "read a chunk"


class Series(NamedTuple):
    """What tells samples from what else is measured, and what they are. attributes: by key."""

    device: str
    source: str
    metric: str
    attributes: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    kind: str = ""


class Measured(NamedTuple):
    """One sample. time_ms: Unix milliseconds. estimated: the device did not know the time, and guessed."""

    series: Series
    value: float | int
    time_ms: int
    estimated: bool = False

    @property
    def device(self) -> str:
        return self.series.device


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which samples are wanted. metric: a name with ``*`` and ``?``, empty for all. source: empty for all. attributes: all must be
    there. since_ms, until_ms: Unix milliseconds, the first one included."""

    metric: str = ""
    source: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    since_ms: int = 0
    until_ms: int = 1 << 62

    def takes(self, series: Series) -> bool:
        """Whether samples of ``series`` are wanted, at some time."""
        return (
            (not self.metric or re.match(translate(self.metric), series.metric) is not None)
            and (not self.source or self.source == series.source)
            and set(self.attributes.items()) <= set(series.attributes)
        )


#: Every sample.
ALL = Wanted()


def measured(stored: Stored, left: LeftOut, wanted: Wanted = ALL) -> list[Measured]:
    """The samples of one chunk that are wanted, by their time. A chunk that does not hold together has none; ``left`` is told."""
    device = device_of(stored.subject)
    latest = latest_of(stored)
    ahead = 0
    told = []
    try:
        for point in _points(device, decode_metrics(stored.data), wanted):
            if point.time_ms > latest:
                ahead += 1
            elif wanted.since_ms <= point.time_ms < wanted.until_ms:
                told.append(point)
    except Failed as error:
        left.spoil(device, error.why)
        return []
    left.count_ahead(device, ahead)
    told.sort(key=attrgetter("time_ms"))
    return told


def _points(device: str, chunk: MetricChunk, wanted: Wanted) -> Iterator[Measured]:
    """Its samples in the order in which they stand there, of the series that are wanted.

    Whatever :func:`edgeagent.chunk.points_of` refuses is refused here too; but what all samples of a series have in common is looked at
    once: this is where an export spends its time. Raises Failed.
    """
    if len(chunk.of) > MAX_POINTS:
        raise Failed(_WHAT, f"it has {len(chunk.of)} samples")
    if not len(chunk.of) == len(chunk.at) == len(chunk.values):
        raise Failed(_WHAT, "it has not as many times and values as samples")
    series = _series(device, chunk)
    takes = [wanted.takes(each) for each in series]
    guesses = set(chunk.estimated)
    for index, (of, time_ms, value) in enumerate(zip(chunk.of, accumulate(chunk.at), chunk.values, strict=True)):
        if not 0 <= of < len(series):
            raise Failed(_WHAT, f"it has no series {of}")
        if not ((0 <= time_ms < 1000 << 34 and -_MAX_VALUE < value < _MAX_VALUE) or _is_large(time_ms, value)):
            raise Failed(_WHAT, f"{value} at {time_ms} is no sample")
        if takes[of]:
            yield Measured(series[of], value, time_ms, index in guesses)


def _is_large(time_ms: int, value: float | int) -> bool:
    """Floats beyond the integers are values too."""
    return 0 <= time_ms < 1000 << 34 and isinstance(value, float) and abs(value) < float("inf")


def _series(device: str, chunk: MetricChunk) -> list[Series]:
    found = []
    try:
        for each in chunk.series:
            Sample(each.metric, 0, each.attributes, unit=each.unit, kind=each.kind)  # raises for what no sample has
            attributes = tuple(sorted(each.attributes.items()))
            found.append(Series(device, each.source, each.metric, attributes, each.unit, each.kind))
    except ValueError as error:
        raise Failed(_WHAT, str(error)) from None
    return found
