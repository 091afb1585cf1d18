"""``edgeagent firmware status``: which version the microcontrollers run, of this device or of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import mcu_names, running, show
from edgeagent.cli.options import Cached, ContextName, Devices, Groups, Labels, SettingsFile, Strict, Timeout, Where
from edgeagent.cli.table import Column, Form, emit
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Outcome
    from edgeagent.fleet.mcus import DeviceMcu
    from edgeagent.status import McuStatus

__all__ = ["add_to"]

_COLUMNS = [Column("device"), Column("id"), Column("firmware"), Column("newest"), Column("state")]


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command("status")(status)


def status(
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
    """List which firmware the microcontrollers of this device run; with -d, -g, -l, --where or --all, those of these devices of the fleet.

    NEWEST is the firmware that this edgeagent has, which `firmware update` sends.

    Example: edgeagent firmware status --all
    """
    chosen = {"devices": devices or (), "groups": groups or (), "labels": labels or (), "where": where}
    what = "list the firmware of microcontrollers"
    if everybody and any(chosen.values()):
        raise UsageProblem(what, "--all is every device, and some are named too", "leave out one of both")
    if everybody or any(chosen.values()):
        _fleet(context, {**chosen, "timeout": timeout, "cached": cached}, as_json=as_json, strict=strict)
    elif context or cached or strict:
        raise UsageProblem(what, "it is not said of which devices", "name them with -d or -g, or say --all")
    else:
        found = mcu_names.local(settings_file)
        _show([_row(found.id, each) for each in found.mcus if each.state != "found"], as_json=as_json)


def _fleet(context: str | None, question: dict[str, Any], *, as_json: bool, strict: bool) -> None:
    from edgeagent.fleet.mcus import FIELDS, mcus_of

    async def work() -> Outcome:
        from edgeagent.fleet import Fleet

        async with Fleet(context) as fleet:
            return await fleet.query(select=FIELDS, **question)

    outcome = running.run(work())
    rows = sorted([*outcome.answered, *outcome.silent, *outcome.offline], key=lambda row: row.id)
    found = [each for row in rows if row.matched is not False for each in mcus_of(row)]
    _show([_row(each.device, each) for each in found if each.state != "found"], as_json=as_json)
    show.footer(outcome, Form.json if as_json else Form.table, cached=question["cached"])
    show.end(outcome, strict=strict)


def _row(device: str, mcu: McuStatus | DeviceMcu) -> dict[str, Any]:
    from edgeagent.firmware import source
    from edgeagent.firmware.standing import standing

    newest = source.newest()
    state = standing(mcu.firmware, newest, bad=mcu.bad, actions=mcu.actions)
    return {
        "device": device,
        "id": mcu.id,
        "firmware": mcu.firmware or None,
        "newest": newest or None,
        "state": state,
        "bad": mcu.bad or None,
    }


def _show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if rows or as_json:
        emit(rows, _COLUMNS, Form.json if as_json else Form.table)
    else:
        typer.echo("There is no microcontroller. To make one known, on its device: `sudo edgeagent mcu add ID`.", err=True)
