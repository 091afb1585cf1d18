"""How commands name a microcontroller: ``oven`` on this device, ``pi-01/oven`` from afar; and what the shell is offered for that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from edgeagent import subjects
from edgeagent.cli import completion
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.mcus import DeviceMcu
    from edgeagent.status import Status

__all__ = ["Action", "Name", "Target", "local", "named", "read"]


class Target(NamedTuple):
    """device: empty for this one."""

    device: str
    id: str


def named(text: str) -> Target:
    """``oven`` or ``pi-01/oven``. Raises UsageProblem for anything else."""
    device, slash, mcu_id = text.rpartition("/")
    if not subjects.is_id(mcu_id) or (slash and not subjects.is_id(device)):
        remedy = "write ID for one on this device, DEVICE/ID for one of the fleet, such as pi-01/oven"
        raise UsageProblem(f"find the microcontroller {text!r}", f"an id is {subjects.ID_RULE}", remedy)
    return Target(device, mcu_id)


def local(settings_file: Path | None) -> Status:
    """What the agent of this device last wrote. Raises Unreachable when it never ran here."""
    from edgeagent import settings, status
    from edgeagent.errors import Unreachable

    try:
        return status.read(settings.load(settings_file).status_file)
    except Unreachable as error:
        raise Unreachable(
            error.what, error.why, f"{error.remedy}; microcontrollers of the fleet: `edgeagent mcu ls --all`"
        ) from None


async def read(fleet: Fleet, device: str) -> list[DeviceMcu]:
    """Those of a device, asked now, or as it said last. Raises UsageProblem when the hub does not know it."""
    from edgeagent.fleet.mcus import FIELDS, mcus_of

    outcome = await fleet.query(devices=[device], select=FIELDS)
    rows = [*outcome.answered, *outcome.silent, *outcome.offline]
    return [each for row in rows for each in mcus_of(row)]


# ---- for the shell ----


def _targets(context: typer.Context, incomplete: str) -> list[str]:
    """Ids on this device; of the fleet the devices, and behind the slash their microcontrollers."""
    device, slash, _ = incomplete.partition("/")
    if slash:
        return completion.begun((f"{device}/{each.id}" for each in _asked(context, device)), incomplete)
    return completion.begun(_here(context), incomplete) or [f"{each}/" for each in completion.devices(context, incomplete)]


def _actions(context: typer.Context, incomplete: str) -> list[str]:
    """What the one that the line names knows."""
    device, _, mcu_id = str(context.params.get("target") or "").rpartition("/")
    found = {each.id: each.actions for each in _asked(context, device)} if device else _here(context)
    return completion.begun(found.get(mcu_id, ()), incomplete)


def _here(context: typer.Context) -> dict[str, list[str]]:
    from edgeagent.errors import EdgeError

    given = context.params.get("settings_file")
    try:
        return {each.id: each.actions for each in local(Path(given) if given else None).mcus if each.state != "found"}
    except (EdgeError, OSError):
        return {}


def _asked(context: typer.Context, device: str) -> list[DeviceMcu]:
    async def work(fleet: Fleet) -> list[DeviceMcu]:
        return await read(fleet, device)

    return completion.asked(context, work) or []


Name = Annotated[
    str,
    typer.Argument(metavar="ID", help="One on this device, or DEVICE/ID: one of the fleet.", autocompletion=_targets),
]
Action = Annotated[
    str, typer.Argument(metavar="ACTION", help="What it shall do; `mcu show` lists what it knows.", autocompletion=_actions)
]
