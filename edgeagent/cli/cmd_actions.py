"""``edgeagent cmd actions``: what devices can be asked to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli.config_keys import bounds_of, type_of
from edgeagent.cli.harmless import json_text
from edgeagent.cli.table import Column, Form, emit
from edgeagent.times import duration

if TYPE_CHECKING:
    from edgeagent.actions import Action

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(actions)


def actions(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Show this one, with its arguments.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the actions, or show one. Devices decide by their own agent.toml which they allow; plugins and programs have their own.

    Example: edgeagent cmd actions exec
    """
    from edgeagent.fleet.commandorder import action_of, known_actions

    if name:
        _one(action_of(name), as_json=as_json)
        return
    rows = [_record(action) for action in known_actions()]
    columns = [
        Column("name"),
        Column(
            "arguments",
            lambda found: " ".join(item["name"] if item["needed"] else f"[{item['name']}]" for item in found) or "-",
            narrow="wrap",
        ),
        Column("expiry", duration),
        Column("longest", duration),
        Column("asks", lambda found: "yes" if found else "-"),
        Column("description", narrow="wrap"),
    ]
    emit(rows if as_json else [_cells(row) for row in rows], columns, Form.json if as_json else Form.table)


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "expiry": row["expiry_seconds"], "longest": row["longest_seconds"], "asks": row["dangerous"]}


def _one(action: Action, *, as_json: bool) -> None:
    from edgeagent.fleet.commandorder import has_manifest

    found = _record(action)
    if as_json:
        print(json_text(found, indent=2))
        return
    typer.echo(f"{found['name']}: {found['description']}")
    expiry, longest = duration(found["expiry_seconds"]), duration(found["longest_seconds"])
    if has_manifest(action):
        typer.echo(
            f"expires after {expiry} unless told otherwise, {longest} at most, or sooner as the device's manifest says; "
            "how long it may run is the manifest's too"
        )
    else:
        typer.echo(
            f"expires after {expiry} unless told otherwise, {longest} at most; may run for {duration(found['timeout_seconds'])}"
        )
    flags = {
        "dangerous": "asks before it is sent to more than one device",
        "idempotent": "runs again when the agent or the device went down while it ran",
        "concurrent": "does not wait for other commands",
        "supersedes": "of several that wait only the newest runs",
    }
    for flag, says in flags.items():
        if found[flag]:
            typer.echo(f"{flag}: {says}")
    if found["arguments"]:
        typer.echo("")
        emit(
            found["arguments"],
            [
                Column("name"),
                Column("type", narrow="wrap"),
                Column("bounds", narrow="wrap"),
                Column("needed"),
                Column("description", narrow="wrap"),
            ],
            Form.table,
        )


def _record(action: Action) -> dict[str, Any]:
    return {
        "name": action.name,
        "description": action.description,
        "arguments": _arguments(action),
        "expiry_seconds": action.default_expiry_seconds,
        "longest_seconds": action.max_expiry_seconds,
        "timeout_seconds": action.timeout_seconds,
        "dangerous": action.dangerous,
        "idempotent": action.idempotent,
        "concurrent": action.concurrent,
        "supersedes": action.supersedes,
    }


def _arguments(action: Action) -> list[dict[str, Any]]:
    import typing

    import msgspec

    from edgeagent.actions import AnyArguments

    if action.arguments is AnyArguments:
        return [
            {
                "name": "KEY=VALUE",
                "type": "any",
                "bounds": None,
                "needed": False,
                "description": "as the program or plugin wants them",
            }
        ]
    hints = typing.get_type_hints(action.arguments, include_extras=True)
    return [
        {
            "name": field.encode_name,
            "type": type_of(hints[field.name]),
            "bounds": bounds_of(hints[field.name]) or None,
            "needed": field.required,
            "description": _description(hints[field.name]),
        }
        for field in msgspec.structs.fields(action.arguments)
    ]


def _description(hint: Any) -> str | None:
    return next((meta.description for meta in getattr(hint, "__metadata__", ()) if getattr(meta, "description", None)), None)
