"""The newest value of every series, bounded whatever devices send. Pure: the caller brings the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from edgeagent.chunk import Point
from edgeagent.hub.exporternames import Series, series_of

__all__ = ["FUTURE_SECONDS", "NewestValues", "Value", "believable"]

#: What is measured so much later than the hub's clock says was measured by a clock that is wrong, in seconds.
FUTURE_SECONDS = 300.0
#: Samples of one chunk that count: an honest one has 500, or those of one message of 32 KiB. 32 KiB of a hostile one unpack to 200,000.
MAX_POINTS = 4000
#: What the name and the labels of a series may have in characters, all together: memory is bounded by it.
MAX_LABELS = 1024


class Value(NamedTuple):
    """value: as measured. time_ms: when, Unix milliseconds."""

    value: float
    time_ms: int


def believable(time_ms: int, now: float) -> bool:
    """Whether a sample may be from then. now: the hub's clock, Unix seconds."""
    return 0 < time_ms <= (now + FUTURE_SECONDS) * 1000


class NewestValues:
    """series_per_device, series: how many are kept. current_seconds: older values are not kept. left_out: samples by reason: ``old``,
    ``future``, ``labels`` (too long), ``too_many`` (in one chunk), ``series_per_device``, ``series``."""

    def __init__(self, *, series_per_device: int, series: int, current_seconds: float) -> None:
        self._per_device, self._series, self._current = series_per_device, series, current_seconds
        self._devices: dict[str, dict[Series, Value]] = {}
        self._count = 0
        self.left_out: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._count

    def add(self, device: str, points: Iterable[Point], now: float) -> None:
        """Take what is newer than what is there. now: the hub's clock, Unix seconds."""
        table = self._devices.setdefault(device, {})
        for number, point in enumerate(points):
            if number >= MAX_POINTS:
                self.left_out["too_many"] += 1
                break
            if reason := self._reason(point, now):
                self.left_out[reason] += 1
                continue
            series = series_of(device, point.source, point.sample)
            kept = table.get(series)
            if kept is None and (reason := self._no_room(table, series)):
                self.left_out[reason] += 1
                continue
            if kept is None or point.time_ms >= kept.time_ms:
                self._count += kept is None
                table[series] = Value(float(point.sample.value), point.time_ms)
        if not table:
            del self._devices[device]

    def _reason(self, point: Point, now: float) -> str:
        if not believable(point.time_ms, now):
            return "future"
        return "old" if point.time_ms < (now - self._current) * 1000 else ""

    def _no_room(self, table: dict[Series, Value], series: Series) -> str:
        if len(series.name) + sum(len(name) + len(text) for name, text in series.labels) > MAX_LABELS:
            return "labels"
        if len(table) >= self._per_device:
            return "series_per_device"
        return "series" if self._count >= self._series else ""

    def expire(self, now: float) -> None:
        """Forget what is not current any more, which makes room."""
        oldest = (now - self._current) * 1000
        for device in list(self._devices):
            table = self._devices[device]
            for series in [series for series, value in table.items() if value.time_ms < oldest]:
                del table[series]
                self._count -= 1
            if not table:
                del self._devices[device]

    def current(self, now: float) -> list[tuple[Series, Value]]:
        """What is to be shown, in no order. May be asked in another thread: a copy of each table is taken at once."""
        oldest = (now - self._current) * 1000
        tables = list(self._devices.values())
        return [pair for table in tables for pair in list(table.items()) if pair[1].time_ms >= oldest]
