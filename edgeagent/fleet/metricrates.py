"""How fast counters grow. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from edgeagent.fleet.metricpoints import Measured, Series

__all__ = ["COUNTER", "rates"]

#: The kind of a value that only grows, but for restarts (:mod:`edgeagent.sample`).
COUNTER = "counter"


def rates(points: Iterable[Measured]) -> list[Measured]:
    """Growth a second since the sample before of the same series, as gauges with the unit ``<unit>/s``; the first of each has none.

    points: in the order of their times. A counter that became less began anew at 0, as Prometheus takes it; what it had counted
    before that, and nobody saw, is lost. Of two samples of one time the later one is left out.
    """
    told, before, called = [], dict[Series, Measured](), dict[Series, Series]()
    for point in points:
        last = before.get(point.series)
        if last is not None and point.time_ms <= last.time_ms:
            continue
        before[point.series] = point
        if last is not None:
            if point.series not in called:
                called[point.series] = point.series._replace(unit=_per_second(point.series.unit), kind="")
            grown = point.value - last.value if point.value >= last.value else point.value
            told.append(
                Measured(
                    called[point.series],
                    grown * 1000 / (point.time_ms - last.time_ms),
                    point.time_ms,
                    point.estimated or last.estimated,
                )
            )
    return told


def _per_second(unit: str) -> str:
    return "1/s" if unit in ("", "1") else f"{unit}/s"
