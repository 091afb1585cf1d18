"""What the commands share that read what the hub has stored of devices: whose, from when, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from edgeagent.cli import moments, running
from edgeagent.cli.harmless import harmless
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.chosen import Whose
    from edgeagent.fleet.leftout import LeftOut

__all__ = ["Attributes", "Glob", "Since", "Source", "Until", "attributes_of", "follow", "on_link", "run", "say_left", "whose"]

T = TypeVar("T")

Since = Annotated[
    Any, typer.Option("--since", help="From when on: 30m, 2d, 2026-11-21T10:00.", parser=moments.parse, metavar="TIME")
]
Until = Annotated[Any, typer.Option("--until", help="Until when; now if not given.", parser=moments.parse, metavar="TIME")]
Glob = Annotated[
    str, typer.Option("--metric", help="Only metrics of this name; * stands for anything: 'system.cpu.*'.", metavar="NAME")
]
Source = Annotated[str, typer.Option("--source", help="Only what this program measured.", metavar="NAME")]
Attributes = Annotated[
    list[str] | None,
    typer.Option("-a", "--attribute", help="Only with this attribute (repeatable; all must hold).", metavar="KEY=VALUE"),
]


def whose(
    devices: Sequence[str] | None, groups: Sequence[str] | None, labels: Sequence[str] | None, where: str, everybody: bool
) -> Whose:
    """The options -d, -g, -l, --where and --all."""
    from edgeagent.fleet.chosen import Whose

    return Whose(devices=devices or (), groups=groups or (), labels=labels or (), where=where, everybody=everybody)


def attributes_of(words: Sequence[str] | None) -> dict[str, str]:
    """Raises UsageProblem for a word that is no key=value."""
    found = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise UsageProblem(
                f"select samples by {word!r}", "an attribute is written key=value", "such as `-a system.device=sda`"
            )
        found[key] = value
    return found


def run(context: str | None, work: Callable[[Fleet], Coroutine[Any, Any, T]]) -> T:
    """Do ``work`` with a fleet. Whoever reads our output and leaves ends it quietly."""
    from edgeagent.cli import leaving

    async def connected() -> T:
        from edgeagent.fleet import Fleet

        async with Fleet(context) as fleet:
            return await work(fleet)

    try:
        return running.run(leaving.unless_left(connected()))
    except leaving.Left as left:
        leaving.silence()
        raise typer.Exit(left.code) from None


def follow(context: str | None, work: Callable[[Fleet], Coroutine[Any, Any, None]]) -> None:
    """The same for what has no end of its own: Ctrl-C is asked for, and nothing went wrong."""
    try:
        run(context, work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def on_link(there: bool) -> None:
    """Say that the hub is away, or back."""
    typer.echo("the hub is back; what came meanwhile follows" if there else "the hub is away", err=True)


def say_left(left: LeftOut) -> None:
    """Say what was left out, on standard error."""
    sys.stdout.flush()
    for sentence in left.sentences():
        typer.echo(harmless(sentence), err=True)
