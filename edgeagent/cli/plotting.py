"""Values over time, drawn with characters."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from edgeagent.cli.harmless import harmless
from edgeagent.cli.quantities import quantity
from edgeagent.errors import Failed, UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet.metricpoints import Measured

__all__ = ["plotted"]

#: Lines of a plot, and how many series can be told apart.
HEIGHT, MOST_SERIES = 20, 6
#: Of a name in the legend, in characters.
MAX_LABEL = 30
#: Each series has a character of its own, so that no colours are needed; a lone line gets the finest.
_MARKERS = ("*", "+", "o", "x", "#", "@")
_FINE = "braille"
#: Of the width, columns that no date of the axis may fill, and what one takes.
_TICK_COLUMNS = 22
#: One value of the axis in so many lines.
_TICK_LINES = 4


def plotted(
    points: Sequence[Measured],
    width: int | None = None,
    *,
    asked: tuple[datetime, datetime] | None = None,
    colour: bool | None = None,
) -> str:
    """The text of a plot, with a legend below it for more than one series.

    width: in columns; None: the terminal's, or 80. asked: the time that is drawn; None: that of the points. colour: None: if standard
    output is a terminal that has some.

    Raises UsageProblem for more series than can be told apart, Failed where the library for it is not installed.
    """
    lines = _series(points)
    if len(lines) > MOST_SERIES:
        why = f"{len(lines)} series are more than can be told apart"
        raise UsageProblem("draw a plot", why, "choose with --source and -a key=value, or leave out --plot")
    if not lines:
        return "there is nothing to draw"
    if colour is None:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = max(40, width or get_terminal_size((80, 24)).columns)
    figure = _figure()
    figure.clear()
    figure.theme("simple" if colour else "colorless")
    legend = _legend([name for name, _, _ in lines], width)
    figure.plot_size(width, HEIGHT - len(legend))
    for number, (_, xs, ys) in enumerate(lines):
        signal = figure.signal(*_thinned(xs, ys, width), marker=_FINE if len(lines) == 1 and len(xs) > 1 else _MARKERS[number])
        signal.lines()
        figure.draw(signal)
    _time_axis(figure, asked, [x for _, xs, _ in lines for x in xs], width)
    _value_axis(figure, points, HEIGHT - len(legend))
    text: str = figure.build().string() if colour else figure.build().string(colorless=True)
    return "\n".join([*(line.rstrip() for line in text.splitlines()), *legend])


def _time_axis(figure: Any, asked: tuple[datetime, datetime] | None, xs: Sequence[float], width: int) -> None:
    """The whole time that was asked for, also where nothing was measured; a device's clock may be ahead of its end."""
    first, last = (moment.timestamp() for moment in asked) if asked else (min(xs), max(xs))
    first, last = min(first, *xs), max(last, *xs)
    places = _ticks([first, last], width)
    ruler = figure.ruler("x")
    if last > first:
        ruler.lim(first, last)
    ruler.ticks(places, [_date(place, places) for place in places])


def _value_axis(figure: Any, points: Sequence[Measured], height: int) -> None:
    """From the least value to the largest, with their unit; a line that stays where it is has room on both sides."""
    values, series = [float(point.value) for point in points], points[0].series
    low, high = min(values), max(values)
    if low == high:
        room = abs(low) / 2 or 1.0
        low, high = low - room, high + room
    count = max(2, height // _TICK_LINES)
    places = [low + (high - low) * (number / (count - 1)) for number in range(count)]
    ruler = figure.ruler("y")
    ruler.lim(low, high)
    ruler.ticks(places, [quantity(place, series.unit, series.metric) for place in places])


def _legend(names: Sequence[str], width: int) -> list[str]:
    """Which character is whose, in as few lines as hold it; none for one series."""
    if len(names) < 2:
        return []
    lines = [""]
    for marker, name in zip(_MARKERS, names, strict=False):
        word = f"{marker} {name}"
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines.append("")
        lines[-1] += f"   {word}" if lines[-1] else word
    return lines


def _figure() -> Any:
    try:
        import plotext
    except ImportError:
        raise Failed("draw a plot", "plotext is not installed", "`pip install 'edgeagent[operator]'` brings it") from None
    return plotext.figure


def _series(points: Sequence[Measured]) -> list[tuple[str, list[float], list[float]]]:
    """Name, times in Unix seconds, and values of each."""
    from edgeagent.cli.metrics_show import labels, parted

    names = labels(points)
    return [
        (
            harmless(names[series])[:MAX_LABEL],
            [point.time_ms / 1000 for point in several],
            [point.value for point in several],
        )
        for series, several in parted(points).items()
    ]


def _thinned(xs: list[float], ys: list[float], width: int) -> tuple[list[float], list[float]]:
    """Of more points than the plot has columns of dots, the least and the largest value of each column."""
    step = len(xs) // (width * 2)
    if step < 2:
        return xs, ys
    found = []
    for start in range(0, len(xs), step):
        part = range(start, min(start + step, len(xs)))
        found += sorted({min(part, key=ys.__getitem__), max(part, key=ys.__getitem__)})
    return [xs[index] for index in found], [ys[index] for index in found]


def _ticks(xs: Sequence[float], width: int) -> list[float]:
    first, last = min(xs), max(xs)
    count = max(2, width // _TICK_COLUMNS)
    return [first + (last - first) * index / (count - 1) for index in range(count)] if last > first else [first]


def _date(place: float, places: Sequence[float]) -> str:
    """As it reads here: the time of day, with the date where the plot is of more than one."""
    one_day = places[-1] - places[0] < 86_400
    return datetime.fromtimestamp(place).strftime("%H:%M:%S" if one_day else "%m-%d %H:%M")
