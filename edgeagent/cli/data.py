"""``edgeagent data``: messages of the devices' own programs, as the hub keeps them."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import reading
from edgeagent.cli.cmd_options import Everybody
from edgeagent.cli.exporting import Progress, target
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import ContextName, Devices, Groups, Labels, Where
from edgeagent.cli.reading import Backlog, First, Lines, Since, Until
from edgeagent.cli.table import bounded, plain
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.data import DataMessage

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="What the devices' own programs sent.\n\nExample: edgeagent data tail 'doors.>' -g berlin"
)
Topic = Annotated[
    str,
    typer.Argument(
        metavar="TOPIC", help="What follows local.data. on the device; * is any token, > at the end one or more: 'doors.*', '>'."
    ),
]


def _topic(word: str) -> str:
    """A pattern of topics. Raises UsageProblem for the subject on the device's leaf in its place, which would match nothing."""
    if word.startswith("local.data."):
        rest = word.removeprefix("local.data.")
        raise UsageProblem(f"read the topic {word!r}", "a topic is what follows local.data.", f"write {rest!r}")
    return word


class Format(str, Enum):
    ndjson = "ndjson"
    raw = "raw"


@app.command()
def tail(
    topic: Topic,
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    since: First = None,
    count: Lines = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, as `data export` writes them.")] = False,
    context: ContextName = None,
) -> None:
    """Show messages as the hub gets them, until Ctrl-C. A device that was away sends older ones in between.

    Example: edgeagent data tail 'doors.>' -g berlin
    """
    from edgeagent.fleet.leftout import LeftOut

    backlog = Backlog(count, since)
    left, selection = LeftOut(), reading.whose(devices, groups, labels, where, everybody)

    async def work(fleet: Fleet) -> None:
        found = fleet.data.tail(
            _topic(topic), selection, since=backlog.since, left=left, ready=backlog.ready, on_link=reading.on_link
        )
        async with aclosing(found):
            async for message in found:
                backlog.print(json_text(record(message), separators=(",", ":")) if as_json else _line(message))

    try:
        reading.follow(context, work)
    finally:
        reading.say_left(left)


@app.command()
def export(
    topic: Topic,
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    since: Since = "1h",
    until: Until = None,
    form: Annotated[
        Format,
        typer.Option(
            "-o",
            "--output",
            "--format",
            help="One JSON object a line (data is text, or data_base64 what is no UTF-8); or the bytes as they are, of one device, or into "
            "a folder.",
        ),
    ] = Format.ndjson,
    to: Annotated[
        Path | None,
        typer.Option("-O", "--to", help="Write into this file; raw: into this folder, a file a message.", metavar="PATH"),
    ] = None,
    context: ContextName = None,
) -> None:
    """Write messages for other programs, in the order of their times.

    Example: edgeagent data export doors.front -d pi-01 --since 2d -O doors.ndjson
    """
    from edgeagent.fleet.leftout import LeftOut

    left, selection = LeftOut(), reading.whose(devices, groups, labels, where, everybody)
    if form is Format.raw and to is None:
        _check_one(devices, groups)

    async def work(fleet: Fleet) -> None:
        with _writer(form, to) as write:
            found = fleet.data.history(_topic(topic), selection, since=since, until=until, left=left, on_chunk=progress.add_chunk)
            async with aclosing(found):
                async for message in found:
                    write(message)
                    progress.count += 1

    with Progress("messages", to) as progress:
        reading.run(context, work)
    if form is Format.ndjson or to is not None:  # else it would stand behind bytes that end no line
        typer.echo(progress.summary(), err=True)
    reading.say_left(left)


def _check_one(devices: list[str] | None, groups: list[str] | None) -> None:
    if len(devices or ()) != 1 or groups:
        why = "the bytes of several devices one after the other could not be told apart"
        raise UsageProblem("export raw data", why, "name one device with -d, or a folder with -O")
    if sys.stdout.isatty():
        raise UsageProblem(
            "export raw data", "this is a terminal, and the bytes may be anything", "name a folder with -O, or > a file"
        )


@contextlib.contextmanager
def _writer(form: Format, to: Path | None) -> Iterator[Callable[[DataMessage], None]]:
    """What writes one message as the form says."""
    if form is Format.ndjson:
        with target(to) as out:
            yield lambda message: out.write(json_text(record(message), separators=(",", ":")) + "\n")
    elif to is None:
        yield _raw
        sys.stdout.buffer.flush()
    else:
        from edgeagent.fleet.datafiles import DataFolder

        yield DataFolder(to).write


def _raw(message: DataMessage) -> None:
    sys.stdout.buffer.write(message.body)


def record(message: DataMessage) -> dict[str, Any]:
    """One message for JSON: its bytes as text where they are UTF-8."""
    from edgeagent.fleet.metricformat import time_text

    found: dict[str, Any] = {"device": message.device, "topic": message.topic, "time": time_text(message.time_ms)}
    try:
        return {**found, "data": message.body.decode()}
    except UnicodeDecodeError:
        return {**found, "data_base64": base64.b64encode(message.body).decode()}


def _line(message: DataMessage) -> str:
    """One message for people; JSON has it whole."""
    from edgeagent.cli.cmd_board import local
    from edgeagent.times import moment

    time = local(moment(message.time_ms / 1000))
    try:
        shown = plain(bounded(message.body.decode()))
    except UnicodeDecodeError:
        shown = f"{len(message.body):,} bytes that are no text"
    return f"{time}  {message.device}  {plain(message.topic)}  {shown}"
