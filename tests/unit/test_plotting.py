"""A plot of characters: it fits, tells series apart, and has no colours where there are none."""

from __future__ import annotations

import pytest

from edgeagent.cli.metrics_show import labels
from edgeagent.cli.plotting import HEIGHT, MOST_SERIES, plotted
from edgeagent.errors import UsageProblem
from edgeagent.fleet.metricpoints import Measured, Series
from edgeagent.times import moment

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
    assert list(labels(points(1)).values()) == ["agent"] and labels([]) == {}
    assert sorted(labels(points(1) + points(1, side="north")).values()) == ["(no attributes)", "side=north"]


@pytest.mark.parametrize("colour", [True, False], ids=["colours", "none"])
def test_the_legend_hides_no_line(colour: bool) -> None:
    text = plotted(points(way="in") + points(way="out"), 80, colour=colour)
    assert text.splitlines()[-1] == "* way=in   + way=out" and len(text.splitlines()) == HEIGHT
    assert "*" in text.splitlines()[1] + text.splitlines()[2] or "+" in text.splitlines()[1] + text.splitlines()[2]


def test_the_axes_have_the_unit_and_the_time_that_was_asked_for() -> None:
    series = Series("pi-01", "agent", "disk", (), "By")
    begin, end = moment(TIME_MS / 1000 - 3600), moment(TIME_MS / 1000 + 60)
    for count in (1, 3):
        same = [Measured(series, 3 << 30, TIME_MS + number) for number in range(count)]
        lines = plotted(same, 100, asked=(begin, end), colour=False).splitlines()
        assert "1.5 GiB" in "".join(lines) and "4.5 GiB" in "".join(lines)
        first, last = (time.astimezone().strftime("%H:%M:%S") for time in (begin, end))
        assert lines[-1].split()[0] == first and lines[-1].split()[-1] == last
