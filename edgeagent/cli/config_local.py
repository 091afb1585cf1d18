"""``edgeagent config local`` and ``config app``: configuration as this device has it, with or without a link."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent import settings
from edgeagent.cli import running
from edgeagent.cli.harmless import json_text, told
from edgeagent.cli.options import SettingsFile
from edgeagent.cli.table import Column, Form, emit, plain

if TYPE_CHECKING:
    from edgeagent.assembly.localconfig import LocalConfig
    from edgeagent.config import Value
    from edgeagent.errors import EdgeError
    from edgeagent.lastgood import Kept

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("local")(local)
    app.command("app")(app_)


def local(
    settings_file: SettingsFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with the documents.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the built-in default.")] = False,
) -> None:
    """Show this device's configuration, each value with its layer. Needs no link and no agent.

    Example: sudo edgeagent config local --changed
    """
    from edgeagent.assembly.localconfig import read
    from edgeagent.config import DEFAULT

    found = read(settings.load(settings_file))
    values = {name: value for name, value in sorted(found.values.items()) if not changed or value.layer != DEFAULT}
    if as_json:
        print(json_text(_record(found, values), indent=2))
    else:
        _show(found, values)


def _record(found: LocalConfig, values: Mapping[str, Value]) -> dict[str, Any]:
    return {
        "values": {name: {"value": value.value, "layer": value.layer} for name, value in values.items()},
        "documents": {
            scope: {"generation": kept.generation, "at": kept.at, "signer": kept.signer, "note": kept.note}
            for scope, kept in found.documents.items()
        },
    }


def _show(found: LocalConfig, values: Mapping[str, Value]) -> None:
    rows = [{"key": name, "value": value.value, "layer": value.layer} for name, value in values.items()]
    as_text = Column("value", lambda value: plain(json_text(value)))
    emit(rows, [Column("key"), as_text, Column("layer")], Form.table)
    print()
    for scope, kept in found.documents.items():
        print(f"{scope}  {_described(kept)}{'  (does not count: no longer in this group)' if scope in found.left else ''}")
    if not found.has_run:
        print("No agent has run here yet: this is what one would begin with. `edgeagent run` starts it.")
    elif not found.documents:
        print("The hub has given no configuration yet.")


def _described(kept: Kept) -> str:
    note = f": {plain(kept.note)}" if kept.note else ""
    return f"generation {kept.generation} of {_local_time(kept.generation)}, signed by {plain(kept.signer)}{note}"


def _local_time(generation: int) -> str:
    """generation: Unix milliseconds, unless whoever signed it had no clock."""
    try:
        return datetime.fromtimestamp(generation / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "an impossible time"


def app_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The program, as in `app.NAME`.")],
    follow: Annotated[bool, typer.Option("--follow", help="Go on, with a line at every change.")] = False,
    settings_file: SettingsFile = None,
) -> None:
    """Print the configuration of the program NAME as one line of JSON. For scripts on the device; needs no link.

    The leaf and the login are those in the program's environment (NATS_URL and so on, as `edgeagent app add` writes them); without
    them it is the leaf of this machine's agent, without a login.

    Example: edgeagent config app doors --follow
    """
    from edgeagent.assembly import appclient

    if not follow:
        _say(running.run(appclient.ask(appclient.way(os.environ, settings_file), name)))
        return
    running.run(appclient.follow(lambda: appclient.way(os.environ, settings_file), name, _say, _warn))


def _say(line: str) -> None:
    print(line, flush=True)


def _warn(error: EdgeError) -> None:
    typer.echo(f"edgeagent: {told(error)}. It goes on trying", err=True)
