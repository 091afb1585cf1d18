"""``edgeagent app``: logins of local programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeagent import settings
from edgeagent.cli import running
from edgeagent.cli.options import SettingsFile
from edgeagent.cli.table import Column, Form, emit

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Logins for programs on this device.\n\nExample: sudo edgeagent app add doors --group www-data"
)

_LATER = "No agent runs here: it counts from the next start."


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 63 of a-z, 0-9 and '-'.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The environment file; /etc/edgeagent/apps/NAME.env if not given.", metavar="FILE"),
    ] = None,
    nkey: Annotated[
        bool, typer.Option("--nkey", help="A key instead of a password; its seed is written beside the file.")
    ] = False,
    mqtt: Annotated[bool, typer.Option("--mqtt", help="A login for MQTT too (MQTT_HOST, MQTT_PORT, ...).")] = False,
    group: Annotated[str, typer.Option("--group", help="The group that may read the file (mode 640).", metavar="GROUP")] = "",
    publish: Annotated[
        list[str] | None,
        typer.Option(
            "--publish", help="A subject below `local.` that it may publish besides its own (repeatable).", metavar="SUBJECT"
        ),
    ] = None,
    subscribe: Annotated[
        list[str] | None, typer.Option("--subscribe", help="The same for subscribing (repeatable).", metavar="SUBJECT")
    ] = None,
    settings_file: SettingsFile = None,
) -> None:
    """Give the program NAME a login to the leaf, and write an environment file for it.

    It may use its own subjects only: local.metric.NAME, local.data.NAME, local.config.NAME and local.action.NAME.

    Example: sudo edgeagent app add doors --group www-data
    """
    from edgeagent.assembly.apps import add as make

    wanted = settings.load(settings_file)
    made = make(wanted, name, target=out, nkey=nkey, mqtt=mqtt, publish=publish or [], subscribe=subscribe or [], group=group)
    file, known, problem = running.run(made)
    typer.echo(f"{name} has a login; its environment is in {file}")
    typer.echo(f"systemd: EnvironmentFile={file}    docker: --network host --env-file {file}")
    if not known:
        typer.echo(_LATER)
    if problem:
        raise problem


@app.command("ls")
def list_(settings_file: SettingsFile = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the programs that have a login. Nothing secret is shown.

    Example: sudo edgeagent app ls
    """
    from edgeagent.assembly.apps import listed
    from edgeagent.leaf.apps import permissions

    rows = [
        {
            "id": app.name,
            "login": f"{'nkey' if app.nkey else 'password'}{', mqtt' if app.mqtt_password else ''}",
            **permissions(app),
        }
        for app in listed(settings.load(settings_file))
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    emit(rows, [Column("id"), Column("login"), Column("publish", " ".join), Column("subscribe", " ".join)], Form.table)


@app.command("rm")
def remove(name: Annotated[str, typer.Argument(metavar="NAME")], settings_file: SettingsFile = None) -> None:
    """Take the login of the program NAME away; its connections end at once.

    Example: sudo edgeagent app rm doors
    """
    from edgeagent.assembly.apps import remove as take_away

    known = running.run(take_away(settings.load(settings_file), name))
    typer.echo(f"{name} has no login any more" + ("" if known else f". {_LATER}"))
