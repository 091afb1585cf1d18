"""``edgeagent cmd ls|show``: the newest commands, and what each device says of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import cmd_board, cmd_send, running
from edgeagent.cli.cmd_options import WaitSeconds
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import ContextName, Json, Output
from edgeagent.cli.table import Column, Form, bounded, emit, plain
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.commandentry import Command
    from edgeagent.fleet.commandrun import Running

__all__ = ["add_to"]

#: How many commands are looked at at once: each is a request of its own, and a person has 100 subscriptions.
AT_ONCE = 8


def add_to(app: typer.Typer) -> None:
    """Make the commands of this module commands of ``app``."""
    app.command()(ls)
    app.command()(show)


def ls(
    count: Annotated[int, typer.Option("-n", "--count", help="How many.", min=1, max=500)] = 20,
    output: Output = Form.table,
    as_json: Json = False,
    context: ContextName = None,
) -> None:
    """List the newest commands, with how many devices are in which state.

    Example: edgeagent cmd ls -n 50
    """
    form = Form.json if as_json else output

    async def work() -> list[dict[str, Any]]:
        from edgeagent.fleet import Fleet

        async with Fleet(context) as fleet:
            return await _listed(fleet, count)

    columns = [
        Column("id"),
        Column("time", _minute),
        Column("by", narrow="cut"),
        Column("action", narrow="cut"),
        Column("to", narrow="cut"),
        Column("until", _until),
        Column("states", narrow="cut"),
        Column("note", wide=True),
        Column("cancelled_by", wide=True),
    ]
    rows = running.run(work())
    emit(rows if form in (Form.json, Form.ndjson) else [_cells(row) for row in rows], columns, form)
    if not rows:
        typer.echo("There are none yet: `edgeagent cmd run ping --all` sends one.", err=True)


async def _listed(fleet: Fleet, count: int) -> list[dict[str, Any]]:
    import asyncio

    commands, roster = await asyncio.gather(fleet.commands.recent(count), fleet.roster())
    places = asyncio.Semaphore(AT_ONCE)

    async def row(command: Command) -> dict[str, Any]:
        from edgeagent.errors import Refused, UsageProblem
        from edgeagent.fleet.commandstatus import counts

        states: Any
        async with places:
            try:
                states = counts((await (await fleet.commands.follow(command, roster)).results()).values())
            except (UsageProblem, Refused) as error:  # somebody's filter that cannot be evaluated costs its own row only
                states = f"not known: {error.why}"
        return {**_record(command), "states": states}

    return list(await asyncio.gather(*(row(command) for command in commands)))


def _record(command: Command) -> dict[str, Any]:
    from edgeagent.times import moment, rfc3339

    return {
        "id": command.id,
        "time": rfc3339(command.time),
        "by": command.by,
        "action": command.action,
        "args": command.args,
        "to": command.selector,
        "until": rfc3339(moment(command.until)),
        "note": command.problem or command.note,
        "cancelled_by": command.cancelled_by or None,
    }


def _until(text: str) -> str:
    from datetime import datetime, timezone

    from edgeagent.times import parse_rfc3339

    return "over" if parse_rfc3339(text) < datetime.now(timezone.utc) else _minute(text)


def _minute(text: str) -> str:
    return cmd_board.minute(text)


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    from edgeagent.fleet.commandtext import described

    return {**row, "action": described(row["action"], row["args"])}


def show(
    command_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="As `cmd run` and `cmd ls` show it, or how only that begins.")
    ] = "",
    last: Annotated[bool, typer.Option("--last", help="The newest one that you sent.")] = False,
    output: Annotated[
        str,
        typer.Option(
            "--output-of", help="Print all that this device wrote, and on standard error what it answered.", metavar="DEVICE"
        ),
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it has ended everywhere; exit codes as of `cmd run --wait`.")
    ] = False,
    timeout: WaitSeconds = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: {id, until, devices}.")] = False,
    context: ContextName = None,
) -> None:
    """Show what became of a command on each device.

    Example: edgeagent cmd show 01KAJ8XG4Q2T9V5H3M7R6W1YZE --json
    """
    if last == bool(command_id):
        raise UsageProblem("show a command", "it is not said which one", "give its id, or --last for your newest one")

    async def work() -> int:
        from edgeagent.fleet import Fleet

        async with Fleet(context) as fleet:
            found = await (fleet.commands.newest() if last else fleet.commands.get(command_id))
            if wait:
                rows = await cmd_send.watch(found, timeout, None, quiet=as_json)
            else:
                rows = list((await found.results()).values())
            if output:
                _print_output(found, {row.id: row for row in rows}, output)
                return 0
            if not as_json:
                typer.echo(_head(found))
            code = cmd_send.end(found, rows, as_json=as_json)
            return code if wait else 0

    if code := running.run(work()):
        raise typer.Exit(code)


def _print_output(found: Running, rows: dict[str, Any], device: str) -> None:
    if device not in rows:
        raise UsageProblem(f"show the output of {device!r}", f"the command {found.id} is not for it", "leave --output-of out")
    lines = cmd_board.Lines(prefixed=False)
    lines.update([rows[device]])
    if rows[device].result.value is not None:
        typer.echo(f"answered: {json_text(rows[device].result.value)}", err=True)


def _head(found: Running) -> str:
    from edgeagent.fleet.commandtext import described

    command = found.command
    lines = [
        f"{command.id}: {plain(bounded(described(command.action, command.args)))}",
        f"by {plain(command.by)} at {cmd_board.local(command.time)}, for {plain(command.selector)}, until {cmd_board.local(found.until)}",
    ]
    lines += [f"note: {plain(command.note)}"] if command.note else []
    lines += [f"it does not count: {plain(command.problem)}"] if command.problem else []
    if command.cancelled_by and command.cancelled:
        lines.append(f"cancelled by {plain(command.cancelled_by)} at {cmd_board.local(command.cancelled)}")
    return "\n".join(lines)
