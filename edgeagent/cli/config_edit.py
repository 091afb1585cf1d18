"""``edgeagent config edit|apply``: a whole document at once, in an editor or from a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import config_show, config_status, editor, textfile
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
from edgeagent.cli.harmless import told
from edgeagent.cli.options import ContextName
from edgeagent.cli.table import plain
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.config import Written
    from edgeagent.fleet.configground import Ground
    from edgeagent.subjects import Scope

__all__ = ["add_to"]

_HELP = """\
# This is all of it: what you remove here is removed. Save it and end the editor to sign and store it; save nothing to change nothing.
# `edgeagent config keys` lists the keys; those of your own programs are in [app.PROGRAM].
"""


def add_to(app: typer.Typer) -> None:
    """Make the commands of this module commands of ``app``."""
    app.command()(edit)
    app.command()(apply)


def edit(
    fleet: ForFleet = False,
    group: ForGroup = None,
    device: ForDevice = None,
    label: ForLabel = None,
    note: Note = "",
    force: Force = False,
    wait: Wait = False,
    timeout: WaitSeconds = 60.0,
    context: ContextName = None,
) -> None:
    """Edit a document in $EDITOR, as TOML. It is that of the fleet, a group or a device. Your text is kept if it can't be stored.

    Example: edgeagent config edit -g berlin
    """
    scope = scope_of(fleet, group, device, label)
    ground = _begin(context, scope, force=force)
    before = _text(ground, force=force)
    path = editor.draft(f"config-{scope}", before)
    try:
        tables = _edited(path, before, f"change the configuration of {scope}")
        if tables is not None:
            base = ground.base
            made = with_fleet(context, lambda opened: opened.config.replace(scope, tables, note=note, base=base, force=force))
    except BaseException:
        _keep(path, before)
        raise
    path.unlink(missing_ok=True)
    if tables is None:
        typer.echo("nothing was changed")
        return
    config_show.written(made, as_json=False)
    if wait:
        config_status.wait_for(context, timeout, made)


def _keep(path: Path, before: str) -> None:
    """Say where the text is, unless nobody has written anything, or removed it."""
    from edgeagent import files

    text = files.read_if_there(path)
    if text == before.encode():
        path.unlink()
    elif text is not None:
        typer.echo(f"Your text is in {path}", err=True)


def _begin(context: str | None, scope: Scope, *, force: bool) -> Ground:
    """What to begin with. Raises Refused when it may not be built upon, unless it is forced."""

    async def work(opened: Fleet) -> Ground:
        return await opened.config.ground(scope, force=force)

    return with_fleet(context, work)


def _text(ground: Ground, *, force: bool) -> str:
    from edgeagent.fleet.configtext import format_toml

    values = ground.values(force=force)
    head = config_show.head(ground.source if values is ground.source.values else ground.base)
    notes = "".join(f"# NOTE: {plain(warning)}\n" for warning in ground.warnings)
    return f"{head}\n{notes}{_HELP}\n{format_toml(values)}"


def _edited(path: Path, before: str, what: str) -> dict[str, Any] | None:
    """The tables that a person made of the file, None when nothing was done. Raises what is wrong when they give up."""
    from edgeagent import files

    while True:
        editor.edit(path)
        text = files.read_text(path)
        if text == before:
            return None
        if not text.strip():
            raise UsageProblem(
                what,
                "the file is empty, even of its head",
                "`edgeagent config apply --force` takes an empty file, if that is meant",
            )
        try:
            return _checked(text, what)
        except UsageProblem as error:
            if not sys.stdin.isatty():
                raise
            typer.echo(told(error), err=True)
            if not typer.confirm("Edit it again?", default=True, err=True):
                raise


def _checked(text: str, what: str, *, json: bool = False) -> dict[str, Any]:
    from edgeagent.fleet import configchange, configtext

    tables = configtext.parse_json(text, what) if json else configtext.parse_toml(text, what)
    configchange.check(tables, what)
    return tables


def apply(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of TOML or JSON; - reads standard input.")],
    fleet: ForFleet = False,
    group: ForGroup = None,
    device: ForDevice = None,
    label: ForLabel = None,
    note: Note = "",
    revision: Revision = None,
    force: Force = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    wait: Wait = False,
    timeout: WaitSeconds = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    context: ContextName = None,
) -> None:
    """Make FILE the whole document; what is not in it is removed. It is that of the fleet, a group or a device.

    FILE is TOML or JSON, as `edgeagent config get` prints it with and without --json. The scope, revision and note in it do not count.

    Example: edgeagent config apply -g berlin berlin.toml --dry-run
    """
    scope = scope_of(fleet, group, device, label)
    text, what = textfile.read(file), f"apply {textfile.named(file)}"
    tables = _checked(text, what, json=textfile.is_json(file, text))
    if not (force or dry):
        _check_has_values(tables, what, scope)

    async def work(opened: Fleet) -> Written:
        return await opened.config.replace(scope, tables, note=note, revision=revision, force=force, dry=dry)

    made = with_fleet(context, work)
    config_show.written(made, as_json=as_json, dry=dry)
    if wait and not dry:
        config_status.wait_for(context, timeout, made)


def _check_has_values(tables: Mapping[str, Any], what: str, scope: Scope) -> None:
    """Raise UsageProblem where nothing is set: a program that failed in front of a pipe must not take all configuration away."""
    from edgeagent.config import flat

    if not flat(tables):
        why = f"it sets nothing, so it would remove all configuration of {scope}"
        raise UsageProblem(what, why, "say `--force` if that is meant; `--dry-run` shows what would be removed")
