"""``edgeagent config status|effective``: which devices follow what, and what comes of it on each."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import config_show
from edgeagent.cli.config_options import Wait, WaitSeconds, with_fleet
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import ContextName, Devices, Groups, Json, Output
from edgeagent.cli.table import Column, Form, emit, plain
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.config import Written
    from edgeagent.fleet.configstatus import DeviceConfig, Effective, Progress
    from edgeagent.fleet.roster import Roster

__all__ = ["add_to", "wait_for"]

#: Exit codes of --wait: a device says that it can't; not all were there in time.
FAILED, TOO_LATE = 3, 4


def add_to(app: typer.Typer) -> None:
    """Make the commands of this module commands of ``app``."""
    app.command()(status)
    app.command()(effective)


def status(
    groups: Groups = None,
    devices: Devices = None,
    wait: Wait = False,
    timeout: WaitSeconds = 60.0,
    output: Output = Form.table,
    as_json: Json = False,
    context: ContextName = None,
) -> None:
    """Show which devices follow the newest configuration. Of the others: since when they lag, and why, if they say that they can't.

    Example: edgeagent config status -g berlin --wait
    """
    form = Form.json if as_json else output

    async def work(opened: Fleet) -> tuple[list[DeviceConfig], datetime, Progress | None]:
        return await _look(opened, groups or [], devices or [], timeout=timeout if wait else None)

    with _resumable([*_options("-g", groups), *_options("-d", devices)], context, waits=wait):
        rows, now, found = with_fleet(context, work)
    _show(rows, now, form)
    if found:
        _end(found, timeout)


async def _look(
    fleet: Fleet, groups: Sequence[str], devices: Sequence[str], *, timeout: float | None
) -> tuple[list[DeviceConfig], datetime, Progress | None]:
    from edgeagent.fleet.configstatus import progress_of, status_of
    from edgeagent.fleet.configwatch import Bucket
    from edgeagent.fleet.states import State, state_of

    roster = await fleet.roster()
    ids = _chosen(roster, groups, devices)
    if timeout is not None:
        present = {device for device in ids if state_of(roster.devices[device], roster.time) is State.ONLINE}
        rows = await _waited(fleet, lambda _: ids, timeout, present)
        return rows, roster.time, progress_of(rows, present)
    bucket = Bucket(fleet)
    await bucket.refresh()
    return [status_of(roster.devices[device], bucket.documents, roster.time) for device in ids], roster.time, None


def _chosen(roster: Roster, groups: Sequence[str], devices: Sequence[str]) -> list[str]:
    """The ids that are meant, of all that the hub knows. Raises UsageProblem for a name that is not there."""
    from edgeagent.fleet import configscope
    from edgeagent.subjects import Scope

    try:
        scopes = [Scope.group(name) for name in groups] + [Scope.device(name) for name in devices]
    except ValueError as error:
        raise UsageProblem("show the configuration", str(error)) from None
    for scope in scopes:
        configscope.check_exists(roster, scope, doing="look at")
    known = {device: found.groups for device, found in sorted(roster.devices.items())}
    if not scopes:
        return list(known)
    return [device for device, in_groups in known.items() if device in devices or set(groups) & set(in_groups)]


def _show(rows: Sequence[DeviceConfig], now: datetime, form: Form) -> None:
    from edgeagent.times import age, parse_rfc3339

    columns = [
        Column("id"),
        Column("state"),
        Column("desired", config_show.generation),
        Column("applied", config_show.generation),
        Column("since", lambda text: age(parse_rfc3339(text), now) if text else "-"),
        Column("restart"),
        Column("error", narrow="wrap"),
    ]
    emit([row.as_dict() for row in rows], columns, form)
    if not rows:
        typer.echo("There are no devices yet: `edgeagent token create` lets the first one in.", err=True)


def wait_for(context: str | None, timeout: float, made: Written) -> None:
    """Wait until the devices that were online when it was written follow it, or what came after it. timeout: seconds.

    Raises typer.Exit with 3 as soon as one says that it can't, with 4 when the time is over.
    """
    from edgeagent.fleet.configscope import members
    from edgeagent.fleet.configstatus import progress_of

    def ids(roster: Roster) -> list[str]:
        return [known.id for known in members(roster, made.scope)]

    async def work(opened: Fleet) -> list[DeviceConfig]:
        return await _waited(opened, ids, timeout, made.present, made)

    option = {"group": "-g", "device": "-d"}.get(made.scope.kind)
    with _resumable(_options(option, [made.scope.name]) if option else [], context):
        rows = with_fleet(context, work)
    _end(progress_of(rows, made.present), timeout)


def _options(name: str, values: Iterable[str] | None) -> list[str]:
    return [word for value in values or () for word in (name, value)]


@contextlib.contextmanager
def _resumable(whom: Sequence[str], context: str | None, *, waits: bool = True) -> Iterator[None]:
    """Say to who presses Ctrl-C that nothing is undone, and how to wait on. whom: options of `config status`."""
    try:
        yield
    except KeyboardInterrupt:
        if waits:
            words = ["edgeagent", "config", "status", *whom, "--wait", *(["--context", context] if context else [])]
            typer.echo(f"\nDevices go on applying it: `{shlex.join(words)}` waits for them again.", err=True)
        raise typer.Exit(130) from None


async def _waited(
    fleet: Fleet,
    which: Callable[[Roster], Iterable[str]],
    timeout: float,
    present: Collection[str],
    made: Written | None = None,
) -> list[DeviceConfig]:
    """The rows once everybody online is done, one has failed, or the time is over. made: wait for this alone."""
    import asyncio

    from edgeagent.fleet.configstatus import progress_of
    from edgeagent.fleet.configwatch import progress

    deadline, said = asyncio.get_running_loop().time() + timeout, ""
    rows: list[DeviceConfig] = []
    scope, generation = (made.scope, made.generation) if made else (None, None)
    steps = progress(fleet, which, scope, generation)
    try:
        while True:
            rest = deadline - asyncio.get_running_loop().time()
            rows = await asyncio.wait_for(steps.__anext__(), rest) if rows else await steps.__anext__()
            found = progress_of(rows, present)
            if found.failed or not found.waiting:
                return rows
            line = f"{len(found.done)} of {len(found.done) + len(found.waiting)} devices have applied it"
            if line != said:
                typer.echo(line, err=True)
            said = line
    except asyncio.TimeoutError:
        return rows
    finally:
        await steps.aclose()


def _end(found: Progress, timeout: float) -> None:
    """Say what is left, and end with the exit code that says so."""
    from edgeagent.fleet.states import State

    for row in found.failed:
        typer.echo(f"{row.id} does not follow it: {plain(row.error)}", err=True)
    within = "" if found.failed else f" within {timeout:g} s"
    gone = [row for row in found.waiting if row.state is not State.ONLINE]
    late = [row for row in found.waiting if row.state is State.ONLINE]
    if late:
        typer.echo(f"{_ids(late)} {'has' if len(late) == 1 else 'have'} not applied it{within}", err=True)
    if gone:
        were, have = ("was", "has") if len(gone) == 1 else ("were", "have")
        typer.echo(f"{_ids(gone)} {were} online when it began, {have} not applied it{within}, and can't be reached now", err=True)
    if behind := [row for row in found.away if row.lagging]:
        typer.echo(f"not online, and not waited for: {_ids(behind)}", err=True)
    if found.failed or found.waiting:
        raise typer.Exit(FAILED if found.failed else TOO_LATE)
    typer.echo(_all_done(len(found.done)), err=True)


def _all_done(count: int) -> str:
    if count == 0:
        return "no device is online"
    return (
        "the one device that is online has applied it" if count == 1 else f"all {count} devices that are online have applied it"
    )


def _ids(rows: Iterable[DeviceConfig]) -> str:
    return ", ".join(row.id for row in rows)


def effective(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="The device.")],
    changed: Annotated[bool, typer.Option("--changed", help="Without the keys that have their default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, by key.")] = False,
    context: ContextName = None,
) -> None:
    """Show every value of a device, and the layer that it comes from. Beside it is what the device says that counts.

    Example: edgeagent config effective pi-01 --changed
    """
    found = with_fleet(context, lambda opened: _effective(opened, device_id))
    rows = [row for row in found if not changed or row.layer != "default" or row.applied not in (None, row.value)]
    if as_json:
        print(json_text({row.name: row.as_dict() for row in rows}, indent=2))
        return
    columns = [Column("key"), Column("value"), Column("layer"), Column("applied")]
    emit([_cells(row) for row in rows], columns, Form.table)


async def _effective(fleet: Fleet, device_id: str) -> list[Effective]:
    from edgeagent.fleet.configstatus import effective as merge
    from edgeagent.fleet.configwatch import Bucket

    roster, bucket = await fleet.roster(), Bucket(fleet)
    (device,) = _chosen(roster, [], [device_id])
    await bucket.refresh()
    return merge(roster.devices[device], bucket.newest)


def _cells(row: Effective) -> dict[str, Any]:
    later = " (from the next start)" if row.restart else ""
    applied = "-" if row.applied is None else config_show.value(row.applied)
    return {"key": row.name, "value": config_show.value(row.value), "layer": row.layer, "applied": f"{applied}{later}"}
