"""The newest value of each series, and the metrics that there are. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeagent.fleet.leftout import LeftOut
from edgeagent.fleet.metricpoints import Measured, Series

__all__ = ["MAX_SERIES", "Metric", "Newest"]

#: Series of one device that are kept; a device that invents one with every sample must not fill the memory.
MAX_SERIES = 2000


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric on all devices. lowest, highest: of the newest values. time_ms: of the newest of them, Unix milliseconds."""

    name: str
    unit: str
    kind: str
    sources: tuple[str, ...]
    devices: int
    series: int
    lowest: float | int
    highest: float | int
    time_ms: int


class Newest:
    """The newest value of each series, of at most :data:`MAX_SERIES` of a device; ``left`` is told of more."""

    def __init__(self, left: LeftOut) -> None:
        self._left = left
        self._devices: dict[str, dict[Series, Measured]] = {}

    @property
    def devices(self) -> frozenset[str]:
        """Those that have some."""
        return frozenset(self._devices)

    def add(self, points: Iterable[Measured]) -> None:
        for point in points:
            kept = self._devices.setdefault(point.device, {})
            known = kept.get(point.series)
            if known is None and len(kept) >= MAX_SERIES:
                self._left.more[point.device] = self._left.more.get(point.device, 0) + 1
            elif known is None or known.time_ms <= point.time_ms:
                kept[point.series] = point

    def series(self) -> list[Measured]:
        """The newest of each, by device, metric, source and attributes."""
        found = [point for kept in self._devices.values() for point in kept.values()]
        return sorted(found, key=lambda point: (point.device, point.series.metric, point.series))

    def metrics(self) -> list[Metric]:
        """By name; units and kinds are those of the newest value."""
        names: dict[str, list[Measured]] = {}
        for point in self.series():
            names.setdefault(point.series.metric, []).append(point)
        return [_metric(name, points) for name, points in sorted(names.items())]


def _metric(name: str, points: list[Measured]) -> Metric:
    newest = max(points, key=lambda point: point.time_ms)
    values = [point.value for point in points]
    return Metric(
        name=name,
        unit=newest.series.unit,
        kind=newest.series.kind,
        sources=tuple(sorted({point.series.source for point in points})),
        devices=len({point.device for point in points}),
        series=len(points),
        lowest=min(values),
        highest=max(values),
        time_ms=newest.time_ms,
    )
