"""``edgeagent mcu show``: everything that is known of one microcontroller, and what it measured last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from edgeagent.cli import cmd_board, mcu_names, running
from edgeagent.cli.harmless import json_text
from edgeagent.cli.mcu_ls import note_of_found, record
from edgeagent.cli.mcu_names import Name, Target
from edgeagent.cli.options import ContextName, SettingsFile
from edgeagent.cli.quantities import quantity
from edgeagent.cli.table import Column, Form, emit, plain
from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.times import duration, moment, rfc3339

if TYPE_CHECKING:
    from edgeagent.settings import Settings

__all__ = ["add_to"]

#: How many series are shown, and how many of the newest samples they are looked for in.
MAX_ROWS, NEWEST = 200, 2000


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(show)


def show(
    target: Name,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    context: ContextName = None,
    settings_file: SettingsFile = None,
) -> None:
    """Show all that is known of a microcontroller: its state, what it can be told, what is wrong, and what it measured last.

    Example: edgeagent mcu show pi-01/oven
    """
    wanted = mcu_names.named(target)
    if wanted.device:
        found, newest, note = running.run(_asked(wanted, context))
    else:
        found, newest, note = _here(wanted, settings_file)
    if as_json:
        print(json_text({**found, "newest": newest}, indent=2))
    else:
        for line in _lines(found):
            typer.echo(line)
        _show_newest(newest)
    if note:
        typer.echo(note, err=True)


# ---- where it comes from ----

Shown = tuple[dict[str, Any], list[dict[str, Any]], str]


def _here(wanted: Target, settings_file: Any) -> Shown:
    """note: why there are no samples, or that the agent does not run."""
    from edgeagent import settings, status

    found = mcu_names.local(settings_file)
    known = {each.id: each for each in found.mcus}
    mcu = known.get(wanted.id) or _none(wanted, known)
    note = "" if status.is_running(found) else "the agent is not running; this is what it knew last"
    newest: list[dict[str, Any]] = []
    try:
        newest = running.run(_stored(settings.load(settings_file), wanted.id))
    except UsageProblem:
        pass  # it has measured nothing lately
    except EdgeError as error:
        note = note or f"what it measured is not shown: {error}"
    shown = {**record(mcu), "heard_seconds": max(0.0, _now() - mcu.heard) if mcu.heard else None}
    return shown, newest, note_of_found(mcu) if mcu.state == "found" else note


def _none(wanted: Target, there: Iterable[str]) -> NoReturn:
    names = ", ".join(sorted(there))
    where = f"{wanted.device} has" if wanted.device else "this device has"
    raise UsageProblem(
        f"show the microcontroller {wanted.id!r}",
        f"{where} none of that id",
        f"there {'is' if ',' not in names else 'are'} {names}" if names else "`edgeagent mcu ls` lists those that there are",
    )


async def _stored(wanted: Settings, mcu_id: str) -> list[dict[str, Any]]:
    from edgeagent.assembly.localmetrics import opened

    async with opened(wanted) as store:
        points = await store.last("mcu", NEWEST)
    newest = {}
    for point in points:
        if point.sample.attributes.get("mcu") == mcu_id:
            each = point.sample
            newest[each.metric, tuple(sorted(each.attributes.items()))] = _row(
                each.metric, each.value, each.unit, each.attributes, point.time_ms
            )
    return [row for _, row in sorted(newest.items())][:MAX_ROWS]


async def _asked(wanted: Target, context: str | None) -> Shown:
    from msgspec.structs import asdict

    from edgeagent.fleet import Fleet
    from edgeagent.fleet.chosen import Whose
    from edgeagent.fleet.metricpoints import Wanted

    async with Fleet(context) as fleet:
        known = {each.id: each for each in await mcu_names.read(fleet, wanted.device)}
        mcu = known.get(wanted.id) or _none(wanted, known)
        newest = await fleet.metrics.newest(
            Whose(devices=(wanted.device,)), wanted=Wanted(source="mcu", attributes={"mcu": wanted.id})
        )
    rows = [
        _row(point.series.metric, point.value, point.series.unit, dict(point.series.attributes), point.time_ms)
        for point in newest.series()
    ]
    return asdict(mcu), rows[:MAX_ROWS], ""


def _row(metric: str, value: float | int, unit: str, attributes: Mapping[str, str], time_ms: int) -> dict[str, Any]:
    others = {key: text for key, text in attributes.items() if key != "mcu"}
    return {
        "id": metric,
        "metric": metric,
        "value": value,
        "unit": unit or None,
        "attributes": others,
        "time": rfc3339(moment(time_ms / 1000)),
    }


def _now() -> float:
    return datetime.now(timezone.utc).timestamp()


# ---- how it reads ----


def _lines(found: Mapping[str, Any]) -> list[str]:
    behind = f"{plain(found['device'])}/" if found.get("device") else ""
    firmware = f", firmware {plain(found['firmware'])}" if found["firmware"] else ""
    hardware = f" on {plain(found['hardware'])}" if found["hardware"] else ""
    lines = [f"{behind}{plain(found['id'])}  {plain(found['state'])}{firmware}{hardware}"]
    way = ", ".join(plain(found[key]) for key in ("kind", "where") if found[key])
    lines.append(f"  way      {way or 'none'}")
    heard = found["heard_seconds"]
    lines.append(f"  heard    {'not known' if heard is None else duration(heard) + ' ago'}")
    lines.append(f"  actions  {plain(found['actions']) if found['actions'] else 'it names none'}")
    lines.append(f"  readings {_counts(found)}")
    if found["problem"]:
        lines.append(f"  wrong    {plain(found['problem'])}")
    return lines


def _counts(found: Mapping[str, Any]) -> str:
    words = {"readings": "taken", "lost": "lost", "malformed": "without sense", "damaged": "damaged frames", "waiting": "waiting"}
    counts = {words[key]: found[key] for key in words if found.get(key) is not None}
    return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count or word in ("taken", "lost")) or "not known"


def _show_newest(rows: list[dict[str, Any]]) -> None:
    if not rows:
        typer.echo("  newest   none lately")
        return
    print()
    cells = [
        {**row, "value": quantity(row["value"], row["unit"] or "", row["metric"]), "time": cmd_board.when(row["time"])}
        for row in rows
    ]
    emit(cells, [Column("metric"), Column("value"), Column("attributes", plain), Column("time")], Form.table)
