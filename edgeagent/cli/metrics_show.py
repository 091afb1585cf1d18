"""``edgeagent metrics show``: one metric of one device over a time, as a table or a plot."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import completion, reading
from edgeagent.cli.harmless import harmless
from edgeagent.cli.options import ContextName, Json, Output
from edgeagent.cli.reading import Attributes, Since, Source, Until
from edgeagent.cli.table import Column, Form, emit, plain
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.metricpoints import Measured, Series

__all__ = ["add_to"]

#: The newest so many samples are shown; then `metrics export` is meant. A table has fewer rows still, for nobody reads more.
MOST, MOST_ROWS = 200_000, 1000


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(show)


def show(
    device: Annotated[str, typer.Argument(metavar="ID", help="The device.", autocompletion=completion.devices)],
    metric: Annotated[str, typer.Argument(metavar="METRIC", help="Its name, as `edgeagent metrics ls -d ID` shows it.")],
    since: Since = "1h",
    until: Until = None,
    source: Source = "",
    attributes: Attributes = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw it, as wide as the terminal.")] = False,
    output: Output = Form.table,
    as_json: Json = False,
    context: ContextName = None,
) -> None:
    """Show the values of a metric on a device, oldest first, with their minimum, mean, maximum and last one.

    Example: edgeagent metrics show pi-01 system.cpu.utilization --since 1h --plot
    """
    from edgeagent.fleet.chosen import Whose
    from edgeagent.fleet.leftout import LeftOut

    form, left, read = Form.json if as_json else output, LeftOut(), _Read()
    chosen: dict[str, Any] = {"metric_name": _literal(metric), "source": source, "attributes": reading.attributes_of(attributes)}

    async def work(fleet: Fleet) -> list[Measured]:
        found: deque[Measured] = deque(maxlen=MOST)
        whose = Whose(devices=[device])
        batches = fleet.metrics.batches(whose, since=since, until=until, left=left, on_chunk=read.add, **chosen)
        async with aclosing(batches):
            async for points in batches:
                read.samples += len(points)
                found.extend(points)
        if not found:
            await _explain(fleet, device, metric)
        return list(found)

    if plot and form is not Form.table:
        raise UsageProblem("draw a plot", "another form is wanted too", "leave out --plot, or -o and --json")
    points = reading.run(context, work)
    if plot:
        from edgeagent.cli.plotting import plotted

        print(plotted(points))
    else:
        _table(points, form)
    reading.say_left(left)
    if form in (Form.table, Form.wide):
        for sentence in _summary(points):
            typer.echo(sentence, err=True)
        counted = f"{read.samples:,} sample{'s' * (read.samples != 1)}, out of {read.chunks:,} message{'s' * (read.chunks != 1)}"
        typer.echo(f"{counted} of the hub with {read.bytes:,} bytes", err=True)


class _Read:
    """What was read for it."""

    samples, chunks, bytes = 0, 0, 0

    def add(self, chunk: Any) -> None:
        self.chunks += 1
        self.bytes += len(chunk.data)


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


def _table(points: Sequence[Measured], form: Form) -> None:
    from edgeagent.fleet.metricformat import record

    rows = [{"id": point.series.metric, **record(point), "estimated": point.estimated} for point in points]
    sources, attributes = (
        len({point.series.source for point in points}) > 1,
        len({point.series.attributes for point in points}) > 1,
    )
    columns = [
        Column("time", _local),
        Column("source", wide=not sources, narrow="cut"),
        Column("attributes", wide=not attributes, narrow="cut"),
        Column("value"),
        Column("unit", wide=True),
        Column("estimated", wide=True),
    ]
    if form in (Form.table, Form.wide) and len(rows) > MOST_ROWS:
        typer.echo(f"the newest {MOST_ROWS:,} of {len(rows):,}; -o csv has them all", err=True)
        rows = rows[-MOST_ROWS:]
    emit(rows, columns, form)


def _local(text: Any) -> str:
    from edgeagent.times import parse_rfc3339

    return parse_rfc3339(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _summary(points: Sequence[Measured]) -> list[str]:
    """Minimum, mean, maximum and last value of each series."""
    found, names = [], labels(points)
    for name, several in parted(points).items():
        values, last = [point.value for point in several], several[-1]
        unit = f" {harmless(last.series.unit)}" if last.series.unit not in ("", "1") else ""
        numbers = {"min": min(values), "mean": sum(values) / len(values), "max": max(values), "last": last.value}
        prefix = f"{harmless(names[name])}: " if len(names) > 1 else ""
        found.append(prefix + " · ".join(f"{word} {plain(value)}{unit}" for word, value in numbers.items()))
    return found or ["there is none in that time"]


def parted(points: Sequence[Measured]) -> dict[Any, list[Measured]]:
    """The samples by their series."""
    found: dict[Any, list[Measured]] = {}
    for point in points:
        found.setdefault(point.series, []).append(point)
    return found


def labels(points: Sequence[Measured]) -> dict[Any, str]:
    """What tells each series from the others: its source and attributes, but for those that all have."""
    every = {point.series for point in points}
    sources = {series.source for series in every}
    common = set.intersection(*(set(series.attributes) for series in every)) if every else set()
    return {series: _label(series, common, with_source=len(sources) > 1) for series in every}


def _label(series: Series, common: set[tuple[str, str]], *, with_source: bool) -> str:
    own = [pair for pair in series.attributes if pair not in common]
    words = [series.source] if with_source else []
    words += [", ".join(f"{key}={value}" for key, value in own)] if own else []
    return " ".join(words) or "(no other attributes)"
