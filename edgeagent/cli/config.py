"""``edgeagent config``: what devices shall be configured like, signed by you."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import (
    alertnote,
    completion,
    config_edit,
    config_history,
    config_keys,
    config_local,
    config_ls,
    config_show,
    config_status,
    config_watch,
)
from edgeagent.cli.config_options import (
    Force,
    ForDevice,
    ForFleet,
    ForGroup,
    ForLabel,
    Note,
    Revision,
    Wait,
    WaitSeconds,
    scope_of,
    with_fleet,
)
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import ContextName
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.config import Written
    from edgeagent.fleet.configversion import Version

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="What devices shall be configured like.\n\nExample: edgeagent config set -g berlin app.doors.open=07:00",
)

Keys = Annotated[
    list[str],
    typer.Argument(metavar="KEY...", help="Dotted names; a table's takes all below it.", autocompletion=completion.keys),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("set")
def set_(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="Dotted names; values as in TOML, or plain text.",
            autocompletion=completion.assignments,
        ),
    ],
    fleet: ForFleet = False,
    group: ForGroup = None,
    device: ForDevice = None,
    label: ForLabel = None,
    note: Note = "",
    revision: Revision = None,
    force: Force = False,
    wait: Wait = False,
    timeout: WaitSeconds = 60.0,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Set values of the fleet, a group or a device. The others stay. `edgeagent config keys` lists what there is.

    Example: edgeagent config set -g berlin app.doors.open=07:00 agent.log_level=debug -m "summer"
    """
    from edgeagent.fleet.configtext import assignments

    scope, values = scope_of(fleet, group, device, label), assignments(words)

    async def work(opened: Fleet) -> tuple[Written, list[str]]:
        written = await opened.config.set(scope, values, note=note, revision=revision, force=force)
        return written, await alertnote.unheard(opened, scope, values)

    made, notes = with_fleet(context, work)
    config_show.written(made, as_json=as_json)
    for each in notes:
        typer.echo(each, err=True)
    if wait:
        config_status.wait_for(context, timeout, made)


@app.command()
def unset(
    keys: Keys,
    fleet: ForFleet = False,
    group: ForGroup = None,
    device: ForDevice = None,
    label: ForLabel = None,
    note: Note = "",
    revision: Revision = None,
    force: Force = False,
    wait: Wait = False,
    timeout: WaitSeconds = 60.0,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Remove values, so that those of a wider scope count again.

    Example: edgeagent config unset -d pi-01 agent.log_level app.doors
    """
    scope = scope_of(fleet, group, device, label)

    async def work(opened: Fleet) -> Written:
        return await opened.config.unset(scope, keys, note=note, revision=revision, force=force)

    made = with_fleet(context, work)
    config_show.written(made, as_json=as_json)
    if wait:
        config_status.wait_for(context, timeout, made)


@app.command()
def get(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="Only this value, or the table of this name.")] = "",
    fleet: ForFleet = False,
    group: ForGroup = None,
    device: ForDevice = None,
    label: ForLabel = None,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Show the document of the fleet, a group or a device as TOML. `config effective` shows what comes of all of them.

    Example: edgeagent config get -g berlin app.doors
    """
    scope = scope_of(fleet, group, device, label)

    async def work(opened: Fleet) -> Version:
        found = await opened.config.read(scope)
        if not found.revision:
            await opened.config.check_known(scope)
        return found

    version = with_fleet(context, work)
    if key:
        _print_value(_value(version, key), as_json=as_json)
    elif as_json:
        print(json_text(version.as_dict(), indent=2))
    else:
        _print_document(version)


def _print_document(version: Version) -> None:
    from edgeagent.fleet.configtext import format_toml

    text = format_toml(version.values)
    typer.echo(config_show.head(version))
    if text:
        typer.echo(f"\n{text}", nl=False)
    if version.claimed:  # as comments: what goes from here into a file is signed only if a person wants it
        typer.echo("# It says:\n" + "".join(f"#   {line}\n" for line in format_toml(version.claimed).splitlines()), nl=False)


def _value(version: Version, key: str) -> Any:
    from edgeagent.fleet.configchange import near

    found: Any = version.values
    for word in key.split("."):
        if not isinstance(found, dict) or word not in found:
            raise UsageProblem(f"show {key} of {version.scope}", "it is not set there", near(key, version.values))
        found = found[word]
    return found


def _print_value(found: Any, *, as_json: bool) -> None:
    from edgeagent.cli.table import plain
    from edgeagent.fleet.configtext import format_toml, format_value

    if as_json:
        print(json_text(found))
    elif isinstance(found, dict):
        typer.echo(format_toml(found), nl=False)
    else:
        typer.echo("\n".join(plain(line) for line in found.split("\n")) if isinstance(found, str) else format_value(found))


for part in (config_ls, config_edit, config_history, config_status, config_watch, config_keys):
    part.add_to(app)
config_local.add_to(app)
