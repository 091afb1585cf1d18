"""``edgeagent mcu ls``: the microcontrollers of this device, or of the fleet."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import mcu_names, running, show
from edgeagent.cli.options import Cached, ContextName, Devices, Groups, Labels, SettingsFile, Strict, Timeout, Where
from edgeagent.cli.table import Column, Form, emit, plain
from edgeagent.errors import UsageProblem
from edgeagent.times import duration, moment, rfc3339

if TYPE_CHECKING:
    from edgeagent.fleet import Outcome
    from edgeagent.fleet.mcus import DeviceMcu
    from edgeagent.status import McuStatus, Status

__all__ = ["add_to", "note_of_found", "record"]

_ADD = "To make one known, on its device: `sudo edgeagent mcu add ID` for MQTT, with --usb or --port for one on a wire"
#: How the agent shows what is plugged in: vendor, product and serial number of a USB device.
_USB = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}(:\S+)?\Z")


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command("ls")(list_)


def list_(
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Annotated[bool, typer.Option("--all", help="Those of all devices of the fleet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    cached: Cached = False,
    timeout: Timeout = 3.0,
    strict: Strict = False,
    context: ContextName = None,
    settings_file: SettingsFile = None,
) -> None:
    """List the microcontrollers of this device; with -d, -g, -l, --where or --all, those of these devices of the fleet, asked now.

    Example: edgeagent mcu ls --all
    """
    chosen = {"devices": devices or (), "groups": groups or (), "labels": labels or (), "where": where}
    if not any(chosen.values()) and not everybody:
        if context or cached or strict:
            raise UsageProblem(
                "list microcontrollers", "it is not said of which devices", "name them with -d or -g, or say --all"
            )
        _here(mcu_names.local(settings_file), as_json=as_json)
    elif everybody and any(chosen.values()):
        raise UsageProblem("list microcontrollers", "--all is every device, and some are named too", "leave out one of both")
    else:
        _fleet(context, {**chosen, "timeout": timeout, "cached": cached}, as_json=as_json, strict=strict)


# ---- this device ----


def _here(found: Status, *, as_json: bool) -> None:
    from edgeagent import status

    rows = [record(each) for each in found.mcus]
    if as_json or rows:
        now = datetime.now(timezone.utc).timestamp()
        ages = [{**row, "heard": now - each.heard if each.heard else None} for row, each in zip(rows, found.mcus, strict=True)]
        emit(rows if as_json else ages, _columns(_since), Form.json if as_json else Form.table)
    else:
        typer.echo(f"This device knows no microcontroller. {_ADD}.", err=True)
    if not status.is_running(found):
        typer.echo("the agent is not running; this is what it knew last", err=True)
    for each in found.mcus:
        if each.state == "found":
            typer.echo(note_of_found(each), err=True)
        elif each.problem:
            typer.echo(f"{plain(each.id)}: {plain(each.problem)}", err=True)


def record(found: McuStatus) -> dict[str, Any]:
    """As JSON has it: times as RFC 3339, None where there was none."""
    from msgspec.structs import asdict

    return {**asdict(found), "heard": _time(found.heard), "since": _time(found.since)}


def _time(seconds: float) -> str | None:
    return rfc3339(moment(seconds)) if seconds else None


def note_of_found(found: McuStatus) -> str:
    """What to type for one that is plugged in and nobody's."""
    usb = next((word for word in (found.id, *found.where.split()) if _USB.match(word.strip("(),"))), "")
    named = (
        f"--usb {plain(usb.strip('(),'))}" if usb else f"--port {plain(found.where)}" if found.where else "--usb VENDOR:PRODUCT"
    )
    return f"{plain(found.where or found.id)} is plugged in and nobody's: `sudo edgeagent mcu add ID {named}` makes it one of yours, ID being your name for it"


# ---- the fleet ----


def _fleet(context: str | None, question: dict[str, Any], *, as_json: bool, strict: bool) -> None:
    from edgeagent.fleet.mcus import FIELDS, mcus_of

    async def work() -> Outcome:
        from edgeagent.fleet import Fleet

        async with Fleet(context) as fleet:
            return await fleet.query(select=FIELDS, **question)

    outcome = running.run(work())
    rows = sorted([*outcome.answered, *outcome.silent, *outcome.offline], key=lambda row: row.id)
    found = [each for row in rows if row.matched is not False for each in mcus_of(row)]
    form = Form.json if as_json else Form.table
    if found or as_json:
        emit([_record(each) for each in found], [Column("device"), *_columns(_since)], form)
    else:
        typer.echo(f"None of these devices knows a microcontroller. {_ADD}.", err=True)
    show.footer(outcome, form, cached=question["cached"])
    show.end(outcome, strict=strict)


def _record(found: DeviceMcu) -> dict[str, Any]:
    from msgspec.structs import asdict

    return {**asdict(found), "heard": found.heard_seconds}  # the column's name


# ---- both ----


def _since(seconds: Any) -> str:
    return "-" if seconds is None else f"{duration(seconds)} ago"


def _columns(heard: Callable[[Any], str]) -> list[Column]:
    return [
        Column("id"),
        Column("state"),
        Column("kind"),
        Column("where", narrow="wrap"),
        Column("firmware"),
        Column("readings"),
        Column("lost"),
        Column("heard", heard),
    ]
