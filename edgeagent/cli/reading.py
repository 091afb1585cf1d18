"""What the commands share that read what the hub has stored of devices: whose, from when, and how they end."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from edgeagent.cli import metriccompletion, moments, running
from edgeagent.cli.harmless import harmless
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.chosen import Whose
    from edgeagent.fleet.leftout import LeftOut

__all__ = [
    "Attributes",
    "Backlog",
    "First",
    "Glob",
    "Lines",
    "Since",
    "Source",
    "Until",
    "attributes_of",
    "follow",
    "on_link",
    "run",
    "say_left",
    "whose",
]

T = TypeVar("T")
#: How far `-n` alone looks back for the newest: every device that is there has sent something since then.
LOOK_BACK = timedelta(minutes=10)

Since = Annotated[
    Any, typer.Option("--since", help="From when on: 30m, 2d, 2026-11-21T10:00.", parser=moments.parse, metavar="TIME")
]
Until = Annotated[Any, typer.Option("--until", help="Until when; now if not given.", parser=moments.parse, metavar="TIME")]
Glob = Annotated[
    str,
    typer.Option(
        "--metric",
        help="Only metrics of this name; * stands for anything: 'system.cpu.*'.",
        metavar="NAME",
        autocompletion=metriccompletion.metrics,
    ),
]
Source = Annotated[
    str,
    typer.Option("--source", help="Only what this program measured.", metavar="NAME", autocompletion=metriccompletion.sources),
]
First = Annotated[
    Any,
    typer.Option(
        "--since", help="Begin with what the hub got from then on: 30m, 2026-11-21T10:00.", parser=moments.parse, metavar="TIME"
    ),
]
Lines = Annotated[
    int | None,
    typer.Option(
        "-n", "--lines", help="Begin with the last so many; without --since, of the last ten minutes.", min=1, max=10_000
    ),
]
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


async def why_none(fleet: Fleet, metric: str, selection: Whose, since: Any) -> str:
    """That nobody sent such a metric in that time, and which name comes near; empty where nothing at all was sent. metric: may be a
    pattern, or empty."""
    from edgeagent.errors import as_sentence
    from edgeagent.fleet.fields import nearest

    names = {found.name for found in (await fleet.metrics.newest(selection, since=since)).metrics()} if metric else set()
    remedy = as_sentence(nearest(metric, names) or "`edgeagent metrics ls` lists those that there are")
    return harmless(f"None of the {len(names):,} metrics of that time is called {metric!r}. {remedy}") if names else ""


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


class Backlog:
    """What a tail begins with. count: the last so many lines; None: all. since: from when on; None: as far as ``count`` needs it."""

    def __init__(self, count: int | None, since: Any) -> None:
        self.since = since if since is not None or count is None else LOOK_BACK
        self._held: deque[str] | None = None if count is None else deque(maxlen=count)

    def print(self, line: str) -> None:
        """Now, or once it is known which are the last."""
        if self._held is None:
            print(line, flush=True)
        else:
            self._held.append(line)

    def ready(self) -> None:
        """What there was is read; the rest comes as it happens."""
        for line in self._held or ():
            print(line)
        self._held = None
        sys.stdout.flush()
        typer.echo("listening; Ctrl-C ends it", err=True)


def on_link(there: bool) -> None:
    """Say that the hub is away, or back."""
    typer.echo("the hub is back; what came meanwhile follows" if there else "the hub is away", err=True)


def say_left(left: LeftOut) -> None:
    """Say what was left out, on standard error."""
    sys.stdout.flush()
    for sentence in left.sentences():
        typer.echo(harmless(sentence), err=True)
