"""``edgeagent metrics show``: one metric of one device over a time, as a table or a plot."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import cmd_board, completion, metriccompletion, reading
from edgeagent.cli.exporting import counted, target
from edgeagent.cli.harmless import harmless
from edgeagent.cli.options import ContextName, Json, Output
from edgeagent.cli.quantities import quantity
from edgeagent.cli.reading import Attributes, Since, Source, Until
from edgeagent.cli.table import Column, Form, emit
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.leftout import LeftOut
    from edgeagent.fleet.metricpoints import Measured, Series

__all__ = ["add_to"]

#: The newest so many samples are shown; then `metrics export` is meant. A table has fewer rows still, for nobody reads more.
MOST, MOST_ROWS = 200_000, 1000


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(show)


def show(
    device: Annotated[str, typer.Argument(metavar="ID", help="The device.", autocompletion=completion.devices)],
    metric: Annotated[
        str,
        typer.Argument(
            metavar="METRIC", help="Its name, as `edgeagent metrics ls -d ID` shows it.", autocompletion=metriccompletion.metrics
        ),
    ],
    since: Since = "1h",
    until: Until = None,
    source: Source = "",
    attributes: Attributes = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw it, as wide as the terminal.")] = False,
    rate: Annotated[
        bool | None,
        typer.Option(
            "--rate/--raw",
            help="Growth a second of a counter, or the values as they are; if not given, tables and plots show rates.",
        ),
    ] = None,
    output: Output = Form.table,
    as_json: Json = False,
    context: ContextName = None,
) -> None:
    """Show the values of a metric on a device, oldest first, with their minimum, mean, maximum and last one.

    Of a counter (bytes since the start, say) tables and plots show how much it grew a second; it may begin anew at 0. csv and json have
    the values as they are, in the columns of `metrics export`, unless --rate is given.

    Example: edgeagent metrics show pi-01 system.cpu.utilization --since 1h --plot
    """
    from edgeagent.fleet.leftout import LeftOut

    form, left = Form.json if as_json else output, LeftOut()
    _check_form(form, plot=plot)
    chosen: dict[str, Any] = {"metric_name": _literal(metric), "source": source, "attributes": reading.attributes_of(attributes)}

    async def work(fleet: Fleet) -> tuple[list[Measured], tuple[datetime, datetime]]:
        return await _read(fleet, device, since, until, left, chosen)

    points, asked = reading.run(context, work)
    for_people = form in (Form.table, Form.wide)
    points = _as_rates(points, rate, metric) if rate or (rate is None and for_people) else points
    if plot:
        from edgeagent.cli.plotting import plotted

        print(plotted(points, asked=asked))
    else:
        _emit(points, form)
    reading.say_left(left)
    if for_people:
        for sentence in _summary(points):
            typer.echo(sentence, err=True)
        typer.echo(counted(len(points), "samples"), err=True)


async def _read(
    fleet: Fleet, device: str, since: Any, until: Any, left: LeftOut, chosen: dict[str, Any]
) -> tuple[list[Measured], tuple[datetime, datetime]]:
    """The newest samples of that time, and from when to when it is. Raises UsageProblem where the device has no such metric."""
    from edgeagent.direct import hub_time
    from edgeagent.fleet.chosen import Whose
    from edgeagent.fleet.storedchunks import moment_at, span

    await span(fleet.client, since, until)  # what cannot be meant is said at once
    asked = (
        await moment_at(fleet.client, since),
        await (hub_time(fleet.client) if until is None else moment_at(fleet.client, until)),
    )
    found: deque[Measured] = deque(maxlen=MOST)
    batches = fleet.metrics.batches(Whose(devices=[device]), since=since, until=until, left=left, **chosen)
    async with aclosing(batches):
        async for points in batches:
            found.extend(points)
    if not found:
        await _explain(fleet, device, chosen["metric_name"])
    return list(found), asked


def _check_form(form: Form, *, plot: bool) -> None:
    """Raise UsageProblem for what cannot be meant."""
    if plot and form not in (Form.table, Form.wide):
        raise UsageProblem("draw a plot", f"a plot is not {form.value}", "leave out one of both")
    if form is Form.name:
        raise UsageProblem("show samples by name", "samples have none", "`edgeagent metrics ls -o name` has the names of metrics")


def _as_rates(points: list[Measured], asked: bool | None, metric: str) -> list[Measured]:
    """Rates of counters, and all else as it is. asked: for rates of something else is a UsageProblem."""
    from edgeagent.fleet.metricrates import COUNTER, rates

    counters = [point for point in points if point.series.kind == COUNTER]
    if asked and len(counters) < len(points):
        raise UsageProblem(f"show the rate of {metric!r}", "it is no counter", "leave out --rate")
    others = [point for point in points if point.series.kind != COUNTER]
    return sorted([*others, *rates(counters)], key=lambda point: point.time_ms) if counters else points


def _literal(metric: str) -> str:
    """A name in which ``*`` and ``?`` stand for themselves: none has them, and a pattern would mix metrics."""
    if any(char in metric for char in "*?["):
        raise UsageProblem(
            f"show {metric!r}", "one metric is shown at a time", "`edgeagent metrics export --metric` takes several"
        )
    return metric


async def _explain(fleet: Fleet, device: str, metric: str) -> None:
    """Raise UsageProblem for a metric that the device does not have; nothing was found in that time."""
    from edgeagent.fleet.chosen import Whose
    from edgeagent.fleet.fields import nearest

    names = {found.name for found in (await fleet.metrics.newest(Whose(devices=[device]))).metrics()}
    if names and metric not in names:
        near = nearest(metric, names) or f"`edgeagent metrics ls -d {device}` shows what it measures"
        raise UsageProblem(f"show {metric!r} of {device}", "it sent no such metric in that time or lately", near)


def _emit(points: Sequence[Measured], form: Form) -> None:
    from edgeagent.fleet import metricformat

    if form is Form.csv:
        with target(None) as out:
            out.write(metricformat.CSV_HEAD + metricformat.csv_lines(points))
    elif form in (Form.table, Form.wide):
        _table(points, form)
    else:
        emit([metricformat.record(point) for point in points], (), form)


def _table(points: Sequence[Measured], form: Form) -> None:
    from edgeagent.fleet.metricformat import record

    if len(points) > MOST_ROWS:
        typer.echo(f"the newest {MOST_ROWS:,} of {len(points):,}; -o csv has them all", err=True)
    rows = [{**record(point), "value": _quantity(point), "estimated": point.estimated} for point in points[-MOST_ROWS:]]
    sources = len({point.series.source for point in points}) > 1
    attributes = len({point.series.attributes for point in points}) > 1
    columns = [
        Column("time", cmd_board.when),
        Column("source", wide=not sources, narrow="cut"),
        Column("attributes", wide=not attributes, narrow="cut"),
        Column("value"),
        Column("estimated", wide=True),
    ]
    emit(rows, columns, form)


def _quantity(point: Measured) -> str:
    return quantity(point.value, point.series.unit, point.series.metric)


def _summary(points: Sequence[Measured]) -> list[str]:
    """Minimum, mean, maximum and last value of each series."""
    found, names = [], labels(points)
    for name, several in parted(points).items():
        values, last = [point.value for point in several], several[-1]
        numbers = {"min": min(values), "mean": sum(values) / len(values), "max": max(values), "last": last.value}
        prefix = f"{harmless(names[name])}: " if len(names) > 1 else ""
        shown = (f"{word} {quantity(value, name.unit, name.metric)}" for word, value in numbers.items())
        found.append(prefix + " · ".join(shown))
    return found or ["there is none in that time"]


def parted(points: Sequence[Measured]) -> dict[Series, list[Measured]]:
    """The samples by their series."""
    found: dict[Series, list[Measured]] = {}
    for point in points:
        found.setdefault(point.series, []).append(point)
    return found


def labels(points: Sequence[Measured]) -> dict[Any, str]:
    """What tells each series from the others: its source and attributes, but for those that all have."""
    every = {point.series for point in points}
    sources = {series.source for series in every}
    common = set.intersection(*(set(series.attributes) for series in every)) if every else set()
    return {series: _label(series, common, with_source=len(sources) > 1, alone=len(every) == 1) for series in every}


def _label(series: Series, common: set[tuple[str, str]], *, with_source: bool, alone: bool) -> str:
    own = [pair for pair in series.attributes if pair not in common]
    words = [series.source] if with_source or alone else []
    if own:
        words.append(", ".join(f"{key}={value}" for key, value in own))
    return " ".join(words) or ("(no attributes)" if not series.attributes else "(no others)")
