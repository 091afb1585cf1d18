"""Values over time, drawn with characters."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from edgeagent.cli.harmless import harmless
from edgeagent.errors import Failed, UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet.metricpoints import Measured

__all__ = ["plotted"]

#: Lines of a plot, and how many series can be told apart.
HEIGHT, MOST_SERIES = 20, 6
#: Of the legend, in characters: it must not hide the lines.
MAX_LABEL = 30
#: Each series has a character of its own, for not everybody sees colours; a lone one gets the finest.
_MARKERS = ("*", "+", "o", "x", "#", "@")
_FINE = "braille"
#: Of the width, columns that no date of the axis may fill, and what one takes.
_TICK_COLUMNS = 22


def plotted(points: Sequence[Measured], width: int | None = None, *, colour: bool | None = None) -> str:
    """The text of a plot. width: in columns; None: the terminal's, or 80. colour: None: if standard output is a terminal that has some.

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
    figure.plot_size(width, HEIGHT)
    for number, (name, xs, ys) in enumerate(lines):
        marker = _FINE if len(lines) == 1 else _MARKERS[number]
        signal = figure.signal(*_thinned(xs, ys, width), marker=marker)
        signal.lines()
        if len(lines) > 1:
            signal.label(name)
        figure.draw(signal)
    places = _ticks([x for _, xs, _ in lines for x in xs], width)
    figure.ruler("x").ticks(places, [_date(place, places) for place in places])
    text: str = figure.build().string() if colour else figure.build().string(colorless=True)
    return "\n".join(line.rstrip() for line in text.splitlines())


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
