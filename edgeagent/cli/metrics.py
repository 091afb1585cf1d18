"""``edgeagent metrics``: what the devices measure, as the hub keeps it; no device is woken."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from edgeagent.cli import metrics_export, metrics_local, metrics_show, metrics_tail, reading
from edgeagent.cli.cmd_options import Everybody
from edgeagent.cli.options import ContextName, Devices, Groups, Json, Labels, Output, Where
from edgeagent.cli.reading import Glob, Since
from edgeagent.cli.table import Column, Form, emit, plain

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.metricnewest import Metric, Newest
    from edgeagent.fleet.metricpoints import Measured

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="What the devices measure.\n\nExample: edgeagent metrics show pi-01 system.cpu.utilization --since 1h",
)


@app.command()
def ls(
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    metric: Glob = "",
    since: Since = "10m",
    output: Output = Form.table,
    as_json: Json = False,
    context: ContextName = None,
) -> None:
    """List the metrics that devices sent lately, with their newest values; of one device (-d), every series.

    Example: edgeagent metrics ls -d pi-01
    """
    from edgeagent.fleet.leftout import LeftOut
    from edgeagent.fleet.metricpoints import Wanted

    form, left = Form.json if as_json else output, LeftOut()
    selection = reading.whose(devices, groups, labels, where, everybody)
    one = len(devices or ()) == 1 and not groups

    async def work(fleet: Fleet) -> tuple[Newest, datetime]:
        from edgeagent.direct import hub_time

        found = await fleet.metrics.newest(selection, since=since, wanted=Wanted(metric=metric), left=left)
        return found, await hub_time(fleet.client)

    newest, now = reading.run(context, work)
    if one:
        rows = [_series(point, now) for point in newest.series()]
        emit(rows, _series_columns(), form)
    else:
        rows = [_metric(found, now) for found in newest.metrics()]
        emit(rows, _metric_columns(), form)
    reading.say_left(left)
    if not rows:
        of = " of these devices" * (selection != reading.whose(None, None, None, "", False)) + " of that name" * bool(metric)
        typer.echo(f"There are none in that time{of}: --since looks further back.", err=True)


def _metric_columns() -> list[Column]:
    return [
        Column("metric"),
        Column("unit"),
        Column("kind", wide=True),
        Column("sources", narrow="cut"),
        Column("devices"),
        Column("series", wide=True),
        Column("newest"),
        Column("when", _age),
    ]


class _Age(str):
    """A time as RFC 3339, which also knows how long ago it is."""

    shown: str

    @classmethod
    def of(cls, time_ms: int, now: datetime) -> _Age:
        from edgeagent.fleet.metricformat import time_text
        from edgeagent.times import age, moment

        found = cls(time_text(time_ms))
        found.shown = age(moment(time_ms / 1000), now)
        return found


def _age(value: Any) -> str:
    return value.shown if isinstance(value, _Age) else plain(value)


def _metric(found: Metric, now: datetime) -> dict[str, Any]:
    same = found.lowest == found.highest
    return {
        "id": found.name,
        "metric": found.name,
        "unit": found.unit or None,
        "kind": found.kind or "gauge",
        "sources": list(found.sources),
        "devices": found.devices,
        "series": found.series,
        "newest": plain(found.lowest) if same else f"{plain(found.lowest)} to {plain(found.highest)}",
        "lowest": found.lowest,
        "highest": found.highest,
        "when": _Age.of(found.time_ms, now),
    }


def _series_columns() -> list[Column]:
    return [
        Column("metric"),
        Column("source", narrow="cut"),
        Column("attributes", narrow="cut"),
        Column("value"),
        Column("unit"),
        Column("kind", wide=True),
        Column("when", _age),
    ]


def _series(point: Measured, now: datetime) -> dict[str, Any]:
    series = point.series
    return {
        "id": series.metric,
        "device": point.device,
        "metric": series.metric,
        "source": point.series.source,
        "attributes": dict(series.attributes),
        "value": point.value,
        "unit": series.unit or None,
        "kind": series.kind or "gauge",
        "when": _Age.of(point.time_ms, now),
        "estimated": point.estimated,
    }


for part in (metrics_tail, metrics_show, metrics_export, metrics_local):
    part.add_to(app)
