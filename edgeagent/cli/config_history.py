"""``edgeagent config diff|history|rollback``: what was there before, and going back to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import config_show, config_status
from edgeagent.cli.config_options import (
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
from edgeagent.cli.table import plain
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.config import Written
    from edgeagent.fleet.configversion import Version
    from edgeagent.subjects import Scope

__all__ = ["add_to"]

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
#: How many documents of a scope the hub keeps.
KEPT = 64


def add_to(app: typer.Typer) -> None:
    """Make the commands of this module commands of ``app``."""
    for command in (diff, history, rollback):
        app.command()(command)


def _history(context: str | None, scope: Scope) -> list[Version]:
    async def work(opened: Fleet) -> list[Version]:
        found = await opened.config.history(scope)
        if not found:
            await opened.config.check_known(scope)
        return found

    return with_fleet(context, work)


def diff(
    revisions: Annotated[
        list[int] | None,
        typer.Argument(metavar="[REV [REV]]", help="From and to; the newest but one and the newest if not given."),
    ] = None,
    fleet: ForFleet = False,
    group: ForGroup = None,
    device: ForDevice = None,
    label: ForLabel = None,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Show what changed between two documents. They are of the fleet, a group or a device.

    Example: edgeagent config diff -g berlin 17 21
    """
    from edgeagent.fleet.configchange import differences

    scope, wanted = scope_of(fleet, group, device, label), revisions or []
    if len(wanted) > 2:
        raise UsageProblem("compare", f"{len(wanted)} revisions are named", "name two at most")
    old, new = _pair(_history(context, scope), wanted, scope)
    problem = "; ".join(f"revision {version.revision}: {version.problem}" for version in (old, new) if version.problem)
    found = {} if problem else differences(old.values, new.values)
    if as_json:
        record: dict[str, Any] = {"scope": str(scope), "from": old.revision, "to": new.revision}
        record |= {"problem": problem} if problem else {}
        print(json_text({**record, "changed": {name: list(pair) for name, pair in found.items()}}))
        return
    typer.echo(f"{scope}: {_named(old)} -> {_named(new)}" if new.revision else f"{scope} has no configuration")
    config_show.changes(found)
    if new.revision and not found:
        typer.echo("  (nothing to compare)" if problem else "  (the same)")


def _pair(past: list[Version], wanted: Sequence[int], scope: Scope) -> tuple[Version, Version]:
    from edgeagent.fleet.configversion import Version

    nothing = Version(scope=scope)
    if not wanted:
        newest = [nothing, nothing, *past]
        return newest[-2], newest[-1]
    found = [_of(past, revision, scope) for revision in wanted]
    return found[0], found[1] if len(found) == 2 else past[-1]


def _of(past: list[Version], revision: int, scope: Scope) -> Version:
    for version in past:
        if version.revision == revision:
            return version
    there = ", ".join(str(version.revision) for version in past) or "none"
    raise UsageProblem(f"show revision {revision} of {scope}", f"the hub has no such one of it (there are: {there})")


def _named(version: Version) -> str:
    if not version.revision:
        return "nothing"
    why = f"; {version.problem}" if version.problem else "; deleted" if version.deleted else ""
    return f"revision {version.revision} ({config_show.author(version)}{plain(why) if why else ''})"


def history(
    fleet: ForFleet = False,
    group: ForGroup = None,
    device: ForDevice = None,
    label: ForLabel = None,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Show who changed what and when, the newest first. The hub keeps 64 documents of the fleet, a group or a device.

    Example: edgeagent config history -g berlin
    """
    scope = scope_of(fleet, group, device, label)
    past = _history(context, scope)
    rows = [_row(past[:index], version, len(past)) for index, version in enumerate(past)]
    if as_json:
        print(json_text([record for record, _ in reversed(rows)], indent=2))
        return
    for record, version in reversed(rows):
        note = f"  {plain(version.note)}" if version.note else ""
        typer.echo(f"{_named(version)}{note}")
        if record["changed"] is None:
            typer.echo("  (what was before it is not kept any more)")
        else:
            config_show.changes({name: (old, new) for name, (old, new) in record["changed"].items()})
    if not rows:
        typer.echo(f"{scope} never had a configuration")


def _row(earlier: Sequence[Version], version: Version, count: int) -> tuple[dict[str, Any], Version]:
    """What it changed of the last one that made sense; one that makes none changed nothing."""
    from edgeagent.fleet.configchange import differences
    from edgeagent.times import rfc3339

    forgotten = not earlier and count >= KEPT
    before = next((old.values for old in reversed(earlier) if not old.problem), {})
    changed = {} if version.problem else differences(before, version.values)
    record: dict[str, Any] = {
        "revision": version.revision,
        "generation": version.generation,
        "by": version.by or None,
        "time": rfc3339(version.time) if version.time else None,
        "note": version.note,
        "changed": None if forgotten else {name: list(pair) for name, pair in changed.items()},
    }
    return {**record, "problem": version.problem} if version.problem else record, version


def rollback(
    to: Annotated[
        int | None, typer.Argument(metavar="[REV]", help="As `config history` shows it; the newest but one if not given.")
    ] = None,
    fleet: ForFleet = False,
    group: ForGroup = None,
    device: ForDevice = None,
    label: ForLabel = None,
    note: Note = "",
    revision: Revision = None,
    wait: Wait = False,
    timeout: WaitSeconds = 60.0,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Make an older document the newest again. It is exactly as it was, but signed by you.

    Example: edgeagent config rollback -g berlin 17
    """
    scope = scope_of(fleet, group, device, label)

    async def work(opened: Fleet) -> Written:
        return await opened.config.rollback(scope, to, note=note, revision=revision)

    made = with_fleet(context, work)
    config_show.written(made, as_json=as_json)
    if wait:
        config_status.wait_for(context, timeout, made)
