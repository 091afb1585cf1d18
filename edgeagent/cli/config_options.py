"""Whose configuration is meant, and the other options that several commands of ``edgeagent config`` share."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from edgeagent.cli import completion, running
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.subjects import Scope

__all__ = [
    "ForDevice",
    "ForFleet",
    "ForGroup",
    "ForLabel",
    "Force",
    "Note",
    "Revision",
    "Wait",
    "WaitSeconds",
    "scope_of",
    "with_fleet",
]

T = TypeVar("T")

ForFleet = Annotated[bool, typer.Option("--fleet", "--all", help="That of the whole fleet.")]
ForGroup = Annotated[
    list[str] | None, typer.Option("-g", "--group", help="That of this group.", metavar="GROUP", autocompletion=completion.groups)
]
ForDevice = Annotated[
    list[str] | None,
    typer.Option("-d", "--device", help="That of this device alone.", metavar="ID", autocompletion=completion.devices),
]
ForLabel = Annotated[
    list[str] | None, typer.Option("-l", "--label", help="Not possible: a label is no scope.", metavar="KEY=VALUE", hidden=True)
]
Note = Annotated[str, typer.Option("-m", "--note", help="Why, for the history.", metavar="TEXT")]
Revision = Annotated[
    int | None, typer.Option("--revision", help="Only if the newest is still this revision; 0: only if there is none.", min=0)
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Also for a device or group that is not there yet, in place of a document that nobody should build upon, and (apply) with "
        "a file that has no values.",
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Wait until all that are online now have applied it; exit with 3 if one can't, with 4 when the time is over.",
    ),
]
WaitSeconds = Annotated[float, typer.Option("--timeout", help="The longest to wait, in seconds.", min=0.1, max=86400)]


def scope_of(fleet: bool, groups: list[str] | None, devices: list[str] | None, labels: list[str] | None = None) -> Scope:
    """The one scope that the options name. Raises UsageProblem unless it is exactly one."""
    from edgeagent.subjects import FLEET_ALL, Scope

    if labels:
        raise _no_label(labels[0])
    for word in [*(groups or []), *(devices or [])]:
        if "=" in word:  # no name has that
            raise _no_label(word)
    named = len(groups or []) + len(devices or []) + fleet
    if named != 1:
        why = "no scope is named" if not named else "more than one scope is named"
        raise UsageProblem("tell whose configuration is meant", why, "name one of --fleet, -g GROUP and -d ID")
    try:
        return Scope.group(groups[0]) if groups else Scope.device(devices[0]) if devices else FLEET_ALL
    except ValueError as error:
        raise UsageProblem("tell whose configuration is meant", str(error)) from None


def _no_label(label: str) -> UsageProblem:
    return UsageProblem(
        f"configure by the label {label}",
        "a label is what devices say about themselves, so it is no scope",
        "make a group of those devices, `edgeagent device group add NAME "
        f"$(edgeagent fleet ls -l {shlex.quote(label)} -o name)`, and name it with `-g NAME`",
    )


def with_fleet(context: str | None, work: Callable[[Fleet], Coroutine[None, None, T]]) -> T:
    """What ``work`` gives, with a connection of the person of the context."""

    async def run() -> T:
        from edgeagent.fleet import Fleet

        async with Fleet(context) as fleet:
            return await work(fleet)

    return running.run(run())
