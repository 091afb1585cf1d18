"""``edgeagent config ls``: which scopes have a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import config_show
from edgeagent.cli.config_options import with_fleet
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import ContextName
from edgeagent.cli.table import Column, Form, emit, plain

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.configversion import Version

__all__ = ["add_to"]

#: The widest scope first, as in the layers of a device.
_ORDER = ("fleet", "group", "device")


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(ls)


def ls(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False, context: ContextName = None) -> None:
    """List what has a document: the fleet, groups, devices. With each: who wrote it when, and the keys that it sets.

    Example: edgeagent config ls
    """

    async def work(opened: Fleet) -> list[Version]:
        return [version for version in (await opened.config.documents()).values() if version.is_there]

    found = with_fleet(context, work)
    rows = [_row(version) for version in sorted(found, key=lambda one: (_ORDER.index(one.scope.kind), one.scope.name))]
    if as_json:
        print(json_text(rows, indent=2))
        return
    columns = [Column("scope"), Column("revision"), Column("by"), Column("time", config_show.stored), Column("keys")]
    emit([{**row, "keys": _keys(row)} for row in rows], columns, Form.table)
    if not rows:
        typer.echo("Nothing is configured yet: `edgeagent config set` does it.", err=True)


def _row(version: Version) -> dict[str, Any]:
    from edgeagent.config import flat

    found = version.as_dict()
    return {**{name: value for name, value in found.items() if name != "values"}, "keys": sorted(flat(version.values))}


def _keys(row: dict[str, Any]) -> str:
    return plain(f"it makes no sense: {row['problem']}" if "problem" in row else row["keys"])
