"""``edgeagent events``: what a person should see, of the devices and of the hub."""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import cmd_board, reading
from edgeagent.cli.cmd_options import Everybody
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import ContextName, Devices, Groups, Json, Labels, Output, Where
from edgeagent.cli.reading import Since
from edgeagent.cli.table import Column, Form, emit, plain

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.events import Happened
    from edgeagent.fleet.leftout import LeftOut

__all__ = ["add_to"]

#: The newest so many are listed.
MOST = 5000


class Severity(str, Enum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"
    critical = "critical"


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(events)


def events(
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    since: Since = "24h",
    severity: Annotated[Severity, typer.Option("--severity", help="These and all that are worse.")] = Severity.info,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, a line each, until Ctrl-C.")] = False,
    output: Output = Form.table,
    as_json: Json = False,
    context: ContextName = None,
) -> None:
    """Show what devices and the hub had to say, oldest first. The hub's own come from the device `hub`. -o name: the devices, each once.

    Example: edgeagent events -g berlin --since 2d --severity warning
    """
    from edgeagent.fleet.leftout import LeftOut

    form, left = Form.json if as_json else output, LeftOut()
    selection = reading.whose(devices, groups, labels, where, everybody)

    async def watch(fleet: Fleet) -> None:
        log = fleet.events.follow(selection, since=since, least=severity.value, left=left, on_link=reading.on_link)
        is_json = form in (Form.json, Form.ndjson)
        async with aclosing(log):
            async for event in log:
                print(json_text(event.as_dict(), separators=(",", ":")) if is_json else _line(event), flush=True)

    async def listed(fleet: Fleet) -> list[Happened]:
        found: deque[Happened] = deque(maxlen=MOST)
        async for event in fleet.events.history(selection, since=since, least=severity.value, left=left):
            found.append(event)
        return sorted(found, key=lambda event: event.time)

    try:
        if follow:
            reading.follow(context, watch)
        else:
            _show(reading.run(context, listed), form, left)
    finally:
        reading.say_left(left)


def _show(found: list[Happened], form: Form, left: LeftOut) -> None:
    columns = [
        Column("time", cmd_board.when),
        Column("device"),
        Column("severity"),
        Column("kind", narrow="cut"),
        Column("text", narrow="wrap"),
        Column("stored", cmd_board.when, wide=True),
        Column("data", wide=True),
    ]
    if form is Form.name:
        print("".join(f"{device}\n" for device in dict.fromkeys(event.device for event in found)), end="")
    else:
        emit([event.as_dict() for event in found], columns, form)
    if not found and left.unmatched is None:
        typer.echo("There are none in that time: --since looks further back, --severity debug shows all.", err=True)
    elif len(found) == MOST:
        typer.echo(f"the newest {MOST:,}; a shorter --since shows those before that", err=True)


def _line(event: Happened) -> str:
    return f"{cmd_board.local(event.time)}  {event.device}  {event.severity}  {plain(event.kind)}  {plain(event.text)}"
