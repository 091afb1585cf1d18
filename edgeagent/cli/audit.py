"""``edgeagent audit``: who wanted what, by the hub's own copy that nobody can change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import cmd_board, running
from edgeagent.cli.cmd_options import seconds
from edgeagent.cli.options import ContextName, Json, Output
from edgeagent.cli.table import Column, Form, emit

if TYPE_CHECKING:
    from edgeagent.fleet.audit import Record

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(audit)


def audit(
    since: Annotated[float, typer.Option("--since", help="How far back: 30m, 24h, 90d.", parser=seconds, metavar="TIME")] = "24h",  # type: ignore[assignment]  # typer gives the default to the parser
    output: Output = Form.table,
    as_json: Json = False,
    context: ContextName = None,
) -> None:
    """Show who commanded and configured what, for whom, until when, and who cancelled it. Needs the role admin.

    Example: edgeagent audit --since 7d
    """

    async def work() -> list[Record]:
        from datetime import datetime, timedelta, timezone

        from edgeagent.fleet import admin, audit

        async with admin.connected(context) as (fleet, orders):
            return await audit.read(orders, datetime.now(timezone.utc) - timedelta(seconds=since), await fleet.pins())

    form = Form.json if as_json else output
    records = running.run(work())
    columns = [
        Column("time", cmd_board.when),
        Column("by"),
        Column("what", narrow="cut"),
        Column("to", narrow="cut"),
        Column("until", cmd_board.when),
        Column("cancelled_by"),
        Column("note", narrow="cut"),
    ]
    emit([record.as_dict() if form is Form.json else _cells(record) for record in records], columns, form)
    if not records:
        typer.echo("Nothing was commanded or configured in that time.", err=True)


def _cells(record: Record) -> dict[str, Any]:
    from edgeagent.fleet.commandtext import described

    found = record.as_dict()
    what = described(record.action, record.args or {}) if record.what == "command" else record.what
    return {**found, "id": record.id, "what": what, "note": record.problem or record.note or None}
