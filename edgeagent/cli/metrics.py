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
    from edgeagent.fleet.storedchunks import begin_at

    form, left = Form.json if as_json else output, LeftOut()
    wanted = Wanted(metric=metric)
    selection = reading.whose(devices, groups, labels, where, everybody)
    one = len(devices or ()) == 1 and not groups and form is not Form.name

    async def work(fleet: Fleet) -> tuple[Newest, datetime, str]:
        from edgeagent.direct import hub_time

        await begin_at(fleet.client, since)  # a time to come is a mistake
        found = await fleet.metrics.newest(selection, since=since, wanted=wanted, left=left)
        why = "" if found.devices else await reading.why_none(fleet, metric, selection, since)
        return found, await hub_time(fleet.client), why

    newest, now, why = reading.run(context, work)
    if one:
        rows = [_series(point, now, form) for point in newest.series()]
        emit(rows, _series_columns(), form)
    else:
        rows = [_metric(found, now, form) for found in newest.metrics()]
        emit(rows, _metric_columns(), form)
    reading.say_left(left)
    if not rows and left.unmatched is None:
        typer.echo(why or "There are none in that time: --since looks further back.", err=True)


def _metric_columns() -> list[Column]:
    return [
        Column("metric"),
        Column("unit", wide=True),
        Column("kind", wide=True),
        Column("sources", narrow="cut"),
        Column("devices"),
        Column("series", wide=True),
        Column("lowest"),
        Column("highest"),
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


def _value(value: float | int, unit: str, metric: str, form: Form) -> Any:
    """With its unit where people read it."""
    from edgeagent.cli.quantities import quantity

    return quantity(value, unit, metric) if form in (Form.table, Form.wide) else value


def _metric(found: Metric, now: datetime, form: Form) -> dict[str, Any]:
    return {
        "id": found.name,
        "metric": found.name,
        "unit": found.unit or None,
        "kind": found.kind or "gauge",
        "sources": list(found.sources),
        "devices": found.devices,
        "series": found.series,
        "lowest": _value(found.lowest, found.unit, found.name, form),
        "highest": _value(found.highest, found.unit, found.name, form),
        "when": _Age.of(found.time_ms, now),
    }


def _series_columns() -> list[Column]:
    return [
        Column("metric"),
        Column("source", narrow="cut"),
        Column("attributes", narrow="cut"),
        Column("value"),
        Column("unit", wide=True),
        Column("kind", wide=True),
        Column("when", _age),
    ]


def _series(point: Measured, now: datetime, form: Form) -> dict[str, Any]:
    series = point.series
    return {
        "id": "/".join([point.device, series.source, series.metric, *(f"{key}={value}" for key, value in series.attributes)]),
        "device": point.device,
        "metric": series.metric,
        "source": point.series.source,
        "attributes": dict(series.attributes),
        "value": _value(point.value, series.unit, series.metric, form),
        "unit": series.unit or None,
        "kind": series.kind or "gauge",
        "when": _Age.of(point.time_ms, now),
        "estimated": point.estimated,
    }


for part in (metrics_tail, metrics_show, metrics_export, metrics_local):
    part.add_to(app)
