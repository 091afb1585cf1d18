"""``edgeagent config watch``: changes of configuration as they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import config_show
from edgeagent.cli.config_options import with_fleet
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import ContextName
from edgeagent.cli.table import plain

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.configwatch import DeviceChange, DocumentChange

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(watch)


def watch(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False, context: ContextName = None
) -> None:
    """Show changes as they happen, until Ctrl-C. Who changes which document, and which devices apply or refuse it.

    Example: edgeagent config watch
    """

    async def work(fleet: Fleet) -> None:
        from edgeagent.fleet import configwatch

        async for change in configwatch.watch(fleet, lambda: typer.echo("watching; Ctrl-C ends it", err=True)):
            record = _document(change) if isinstance(change, configwatch.DocumentChange) else _device(change)
            print(json_text(record) if as_json else _line(record), flush=True)

    try:
        with_fleet(context, work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # asked for: nothing went wrong


def _document(change: DocumentChange) -> dict[str, Any]:
    from edgeagent.times import rfc3339

    version = change.version
    return {
        "time": rfc3339(version.time) if version.time else None,
        "what": "document",
        "scope": str(version.scope),
        "revision": version.revision,
        "generation": version.generation,
        "by": version.by or None,
        "note": version.note,
        "problem": version.problem or None,
        "changed": {name: list(pair) for name, pair in change.changes.items()},
    }


def _device(change: DeviceChange) -> dict[str, Any]:
    from edgeagent.times import rfc3339

    return {
        "time": rfc3339(change.time),
        "what": "refused" if change.error else "applied",
        "id": change.id,
        "scope": change.scope,
        "generation": change.generation,
        "error": change.error or None,
    }


def _line(record: dict[str, Any]) -> str:
    from edgeagent.fleet.configtext import format_name
    from edgeagent.times import parse_rfc3339

    time = parse_rfc3339(record["time"]).astimezone().strftime("%H:%M:%S") if record["time"] else "-"
    scope, signed = plain(record["scope"]), config_show.generation(record["generation"])
    if record["what"] != "document":
        why = f": {plain(record['error'])}" if record["error"] else ""
        return f"{time}  {record['id']}  {record['what']} {scope} ({signed}){why}"
    changed = "; ".join(
        f"{format_name(name)} {config_show.value(old)} -> {config_show.value(new)}"
        for name, (old, new) in record["changed"].items()
    )
    what = plain(record["problem"]) if record["problem"] else changed or "nothing changed"
    note = f" ({plain(record['note'])})" if record["note"] else ""
    return f"{time}  {scope}  revision {record['revision']} by {plain(record['by'])}{note}: {what}"
