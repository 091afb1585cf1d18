"""How configuration is shown: changes, heads of documents, times of generations."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from edgeagent.cli.harmless import json_text
from edgeagent.cli.table import MAX_CELL, plain

if TYPE_CHECKING:
    from edgeagent.fleet.config import Written
    from edgeagent.fleet.configchange import Changes
    from edgeagent.fleet.configversion import Version

__all__ = ["author", "changes", "generation", "head", "local", "stored", "value", "warn", "written"]


def local(moment: datetime | None) -> str:
    """The time of day here, with the date where it is not today."""
    from edgeagent.cli import cmd_board

    return cmd_board.local(moment) if moment else "-"


def stored(time: str | None) -> str:
    """When a record says that the hub stored it, as the time of day here."""
    from edgeagent.times import parse_rfc3339

    return local(parse_rfc3339(time) if time else None)


def generation(number: Any) -> str:
    """A generation as the time at which it was signed."""
    from edgeagent.fleet.configversion import moment

    if not isinstance(number, int) or number <= 0:
        return "-"
    signed = moment(number)
    return local(signed) if signed else str(number)


def value(found: Any) -> str:
    """One value on one line, cut where it is very long: JSON has it whole."""
    from edgeagent.fleet.configtext import format_value

    text = "(not set)" if found is None else format_value(found)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def changes(found: Changes) -> None:
    """One line a key: what it was, and what it is."""
    from edgeagent.fleet.configtext import format_name

    names = {name: format_name(name) for name in found}
    width = max((len(name) for name in names.values()), default=0)
    for name, (old, new) in found.items():
        typer.echo(f"  {names[name].ljust(width)}  {value(old)} -> {value(new)}")


def author(version: Version) -> str:
    """Whose signature it has, and when it was signed as it says itself; ``-`` where it is nobody's."""
    return f"{plain(version.by)}, {generation(0 if version.problem else version.generation)}"


def head(version: Version) -> str:
    """What is to be known about a document, as comments of TOML."""
    if not version.is_there:
        return f"# {version.scope} has no configuration"
    if version.problem:
        why = version.problem if version.key else f"it makes no sense: {version.problem}"
        return f"# {version.scope}: revision {version.revision}\n# {plain(why)}"
    lines = [f"# {version.scope}: revision {version.revision}, generation {version.generation}", f"# by {author(version)}"]
    lines += [f"# note: {plain(version.note)}"] if version.note else []
    return "\n".join(lines)


def written(made: Written, *, as_json: bool, dry: bool = False) -> None:
    """What became of a change."""
    warn(made.warnings)
    if as_json:
        print(json_text(made.as_dict()))
        return
    stays = f"{made.scope} stays at revision {made.revision}" if made.revision else f"{made.scope} has no configuration"
    if dry and made.changes:
        typer.echo(f"{made.scope} would change:")
    elif not made.written:
        typer.echo(f"nothing changes: {stays}")
    elif not made.changes:
        typer.echo(f"{made.scope}: revision {made.revision}; the same, signed anew")
    else:
        typer.echo(f"{made.scope}: revision {made.revision}")
    changes(made.changes)
    if made.written:
        typer.echo(_followers(made))


def warn(warnings: Iterable[str]) -> None:
    """On standard error, where nobody's program takes them for an answer."""
    for warning in warnings:
        typer.echo(f"NOTE: {plain(warning)}", err=True)


def _followers(made: Written) -> str:
    if not made.devices:
        return "no device follows it yet"
    if made.devices == 1:
        return f"1 device follows it; it is {'online now' if made.online else 'not online now'}"
    return f"{made.devices} devices follow it; {made.online} of them {'is' if made.online == 1 else 'are'} online now"
