"""``edgeagent metrics local``: what this device's own store holds."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent import settings
from edgeagent.cli import running
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import SettingsFile
from edgeagent.cli.table import Column, Form, emit, plain
from edgeagent.times import age, duration, moment, parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from edgeagent.assembly.localmetrics import Held, Source
    from edgeagent.chunk import Point
    from edgeagent.status import ForwardStatus

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("local")(local)


def local(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The newest samples of this source or metric instead.")] = "",
    count: Annotated[int, typer.Option("-n", "--lines", help="How many of them.", min=1, max=10_000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    settings_file: SettingsFile = None,
) -> None:
    """Show what this device's store holds, from whom, and how much of it waits for the hub. Needs no link, and no agent while its leaf runs.

    Example: sudo edgeagent metrics local
    """
    wanted = settings.load(settings_file)
    if name:
        _samples(running.run(_last(wanted, name, count)), as_json=as_json)
    else:
        found = running.run(_held(wanted))
        print(json_text(_record(found), indent=2)) if as_json else _show(found, _seconds(wanted))


def _seconds(wanted: settings.Settings) -> float:
    """How often the agent forwards."""
    from edgeagent.assembly.localconfig import effective

    return effective(wanted).forward.seconds


async def _last(wanted: settings.Settings, name: str, count: int) -> list[Point]:
    from edgeagent.assembly.localmetrics import opened

    async with opened(wanted) as store:
        return await store.last(name, count)


async def _held(wanted: settings.Settings) -> dict[str, Held]:
    from edgeagent.assembly.localmetrics import DATA, METRICS, opened

    async with opened(wanted) as store:
        return {kind.name: await store.held(kind) for kind in (METRICS, DATA)}


# ---- the store ----


def _record(found: dict[str, Held]) -> dict[str, Any]:
    from msgspec import to_builtins

    return {
        name: {
            "messages": held.messages,
            "bytes": held.bytes,
            "limit_bytes": held.limit,
            "since": _time(held.since),
            "sources": [_row(source) for source in held.sources],
            "forward": to_builtins(held.forward) if held.forward else None,
            "forward_as_of": held.as_of or None,
        }
        for name, held in found.items()
    }


def _row(source: Source) -> dict[str, Any]:
    return {
        "id": source.name,
        "source": source.name,
        "newest": _time(source.newest),
        "a_minute": round(source.a_minute, 2),
        "messages": source.messages,
        "metrics": sorted(source.metrics),
    }


def _show(found: dict[str, Held], seconds: float) -> None:
    """seconds: how often it is forwarded."""
    now = datetime.now(timezone.utc)
    for name, held in found.items():
        since = f", since {age(moment(held.since / 1000), now)}" if held.since is not None else ""
        print(
            f"{'samples' if name == 'metric' else 'data':<8} {held.messages:,} message{'s' * (held.messages != 1)}, {_size(held.bytes)} of {_size(held.limit)}{since}"
        )
        as_of = f" ({age(parse_rfc3339(held.as_of), now)})" if held.forward and held.as_of else ""
        print(f"  hub    {_forwarded(held.forward, now)}{as_of}")
    waiting = sum(held.forward.waiting for held in found.values() if held.forward)
    if waiting:
        print(f"what waits is sent within {duration(seconds)} while there is a link (forward.seconds)")
    for name, held in found.items():
        if held.sources:
            print()
            columns = [
                Column("source" if name == "metric" else "topic"),
                Column("newest"),
                Column("a_minute"),
                Column("messages"),
            ]
            emit([_cells(source, now) for source in held.sources], columns, Form.table)


def _cells(source: Source, now: datetime) -> dict[str, Any]:
    newest = age(moment(source.newest / 1000), now) if source.newest is not None else "long ago"
    return {**_row(source), "topic": source.name, "newest": newest}


def _forwarded(found: ForwardStatus | None, now: datetime) -> str:
    if found is None:
        return "not known: the agent has not written it yet"
    dropped = ", ".join(f"{count:,} {cause.replace('_', ' ')}" for cause, count in sorted(found.dropped.items()))
    sent = f"{found.forwarded:,} forwarded" if found.known else "not asked yet"
    last = f", the last {age(moment(found.acknowledged), now)}" if found.acknowledged else ""
    waits = f"{found.waiting:,} waiting"
    speed = found.waiting / found.rate if found.rate and found.waiting > found.rate * 60 else 0.0
    left = f", some {duration(speed)} at this rate" if speed else ""
    return f"{waits}{left}; {sent}{last}; dropped: {dropped or 'none'}"


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else rfc3339(moment(time_ms / 1000))


# ---- samples ----


def _shown(point: Point) -> str:
    """As it reads here, like everywhere in tables."""
    from edgeagent.cli.cmd_board import local as local_time

    return f"{local_time(moment(point.time_ms / 1000))}{' (a guess)' if point.estimated else ''}"


def _samples(points: list[Point], *, as_json: bool) -> None:
    rows = [
        {
            "id": point.sample.metric,
            "time": _time(point.time_ms) if as_json else _shown(point),
            "estimated": point.estimated,
            "source": point.source,
            "metric": point.sample.metric,
            "value": point.sample.value,
            "unit": point.sample.unit or None,
            "attributes": point.sample.attributes,
        }
        for point in points
    ]
    if as_json:
        print(json_text(rows, indent=2))
        return
    emit(rows, [Column("time"), Column("metric"), Column("value"), Column("unit"), Column("attributes", plain)], Form.table)
