"""Rates of counters, with restarts."""

from __future__ import annotations

from edgeagent.fleet.metricpoints import Measured, Series
from edgeagent.fleet.metricrates import COUNTER, rates

IN = Series("pi-01", "agent", "io", (("way", "in"),), "By", COUNTER)
OUT = IN._replace(attributes=(("way", "out"),), unit="1")


def found(*points: tuple[Series, float, int]) -> list[tuple[str, float, int]]:
    return [
        (point.series.unit, point.value, point.time_ms)
        for point in rates(Measured(series, value, time_ms) for series, value, time_ms in points)
    ]


def test_each_series_grows_on_its_own() -> None:
    assert found((IN, 100, 0), (OUT, 7, 500), (IN, 300, 2000), (OUT, 8, 1000), (IN, 300, 3000)) == [
        ("By/s", 100, 2000),
        ("1/s", 2, 1000),
        ("By/s", 0, 3000),
    ]


def test_after_a_restart_it_counts_from_nothing() -> None:
    assert found((IN, 1000, 0), (IN, 50, 1000), (IN, 150, 2000)) == [("By/s", 50, 1000), ("By/s", 100, 2000)]


def test_two_of_one_time_are_no_growth() -> None:
    assert found((IN, 10, 1000), (IN, 20, 1000), (IN, 40, 2000)) == [("By/s", 30, 2000)] and found((IN, 1, 1)) == []


def test_a_guessed_time_makes_a_guessed_rate() -> None:
    (point,) = rates([Measured(IN, 1, 0, estimated=True), Measured(IN, 2, 1000)])
    assert point.estimated and point.series.kind == ""
