"""``edgeagent metrics export``: samples for other programs."""

from __future__ import annotations

from contextlib import aclosing
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import reading
from edgeagent.cli.cmd_options import Everybody
from edgeagent.cli.exporting import Progress, Target, target
from edgeagent.cli.options import ContextName, Devices, Groups, Labels, Where
from edgeagent.cli.reading import Attributes, Glob, Since, Source, Until

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet

__all__ = ["add_to"]


class Format(str, Enum):
    ndjson = "ndjson"
    csv = "csv"
    influx = "influx"


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(export)


def export(
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    metric: Glob = "",
    source: Source = "",
    attributes: Attributes = None,
    since: Since = "1h",
    until: Until = None,
    form: Annotated[
        Format, typer.Option("-o", "--output", "--format", help="One JSON object a line, CSV, or InfluxDB's line protocol.")
    ] = Format.ndjson,
    to: Target = None,
    context: ContextName = None,
) -> None:
    """Write samples for other programs, in the order of their times.

    Example: edgeagent metrics export --format csv --since 24h -g berlin --metric 'system.cpu.*' -O cpu.csv
    """
    from edgeagent.fleet.leftout import LeftOut
    from edgeagent.fleet.metricformat import FORMATS

    left, selection = LeftOut(), reading.whose(devices, groups, labels, where, everybody)
    head, lines = FORMATS[form.value]
    chosen: dict[str, Any] = {"metric_name": metric, "source": source, "attributes": reading.attributes_of(attributes)}

    async def work(fleet: Fleet) -> None:
        with target(to) as out:
            out.write(head)
            batches = fleet.metrics.batches(selection, since=since, until=until, left=left, on_chunk=progress.add_chunk, **chosen)
            async with aclosing(batches):
                async for points in batches:
                    out.write(lines(points))
                    progress.count += len(points)
        why.append("" if progress.count else await reading.why_none(fleet, metric, selection, since))

    why = list[str]()
    with Progress("samples", to) as progress:
        reading.run(context, work)
    typer.echo(progress.summary(), err=True)
    reading.say_left(left)
    if any(why) and left.unmatched is None:
        typer.echo(why[0], err=True)
