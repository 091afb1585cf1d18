"""A plot of characters: it fits, tells series apart, and has no colours where there are none."""

from __future__ import annotations

import pytest

from edgeagent.cli.metrics_show import labels
from edgeagent.cli.plotting import HEIGHT, MOST_SERIES, plotted
from edgeagent.errors import UsageProblem
from edgeagent.fleet.metricpoints import Measured, Series

TIME_MS = 1795281475681


def points(count: int = 60, source: str = "agent", **attributes: str) -> list[Measured]:
    series = Series("pi-01", source, "m", tuple(sorted(attributes.items())))
    return [Measured(series, number % 7, TIME_MS + number * 60_000) for number in range(count)]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("count", [1, 60, 50_000])
def test_it_fits(width: int, count: int) -> None:
    lines = plotted(points(count), width, colour=False).splitlines()
    assert len(lines) == HEIGHT and max(map(len, lines)) <= width and "\x1b" not in "".join(lines)


def test_series_can_be_told_apart_without_colours() -> None:
    text = plotted(points(way="in") + points(way="out"), 80, colour=False)
    assert "way=in" in text and "way=out" in text and "*" in text and "+" in text


def test_colours_only_where_there_are_some() -> None:
    assert "\x1b[" in plotted(points(), 80, colour=True)


def test_what_a_device_called_it_moves_no_cursor() -> None:
    text = plotted(points(source="a\x1b[31m\n") + points(source="b"), 80, colour=False)
    assert "\x1b" not in text and len(text.splitlines()) == HEIGHT


def test_more_than_can_be_told_apart_is_said() -> None:
    many = [point for number in range(MOST_SERIES + 1) for point in points(2, n=str(number))]
    with pytest.raises(UsageProblem, match="--source"):
        plotted(many, 80, colour=False)
    assert plotted([], 80, colour=False) == "there is nothing to draw"


def test_a_series_is_called_by_what_differs() -> None:
    several = points(1, way="in", disk="sda") + points(1, way="out", disk="sda")
    assert sorted(labels(several).values()) == ["way=in", "way=out"]
    assert sorted(labels(several + points(1, "app", way="in", disk="sda")).values()) == [
        "agent way=in",
        "agent way=out",
        "app way=in",
    ]
    assert sorted(labels(points(1) + points(1, way="in")).values()) == ["(no other attributes)", "way=in"]
    assert labels([]) == {}
