"""``edgeagent metrics tail``: samples as they come."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import reading
from edgeagent.cli.cmd_options import Everybody
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import ContextName, Devices, Groups, Labels, Where
from edgeagent.cli.quantities import quantity
from edgeagent.cli.reading import Attributes, Backlog, First, Glob, Lines, Source
from edgeagent.cli.table import plain

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.metricpoints import Measured

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(tail)


def tail(
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    metric: Glob = "",
    source: Source = "",
    attributes: Attributes = None,
    since: First = None,
    count: Lines = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, as `metrics export` writes them.")] = False,
    context: ContextName = None,
) -> None:
    """Show samples as the hub gets them, until Ctrl-C. A device that was away sends older ones in between.

    Example: edgeagent metrics tail -g berlin --metric 'system.cpu.*'
    """
    from edgeagent.fleet.leftout import LeftOut
    from edgeagent.fleet.metricpoints import Wanted

    backlog = Backlog(count, since)
    left, selection = LeftOut(), reading.whose(devices, groups, labels, where, everybody)
    wanted = Wanted(metric=metric, source=source, attributes=reading.attributes_of(attributes))

    async def work(fleet: Fleet) -> None:
        points = fleet.metrics.tail(
            selection, since=backlog.since, wanted=wanted, left=left, ready=backlog.ready, on_link=reading.on_link
        )
        async with aclosing(points):
            async for point in points:
                backlog.print(_json(point) if as_json else line(point))

    try:
        reading.follow(context, work)
    finally:
        reading.say_left(left)


def _json(point: Measured) -> str:
    from edgeagent.fleet.metricformat import record

    return json_text(record(point), separators=(",", ":"))


def line(point: Measured) -> str:
    """One sample for people."""
    from edgeagent.cli.cmd_board import local
    from edgeagent.times import moment

    series = point.series
    guess = "~" if point.estimated else " "
    time = local(moment(point.time_ms / 1000))
    attributes = f" {{{plain(dict(series.attributes))}}}" if dict(series.attributes) else ""
    value = quantity(point.value, series.unit, series.metric)
    return f"{time}{guess} {point.device}  {plain(point.series.source)}  {series.metric}{attributes}  {value}"
