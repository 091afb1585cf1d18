"""``edgeagent put``: samples and messages for cron jobs and shell scripts."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated

import typer

from edgeagent.cli import completion, running
from edgeagent.cli.options import SettingsFile
from edgeagent.errors import UsageProblem

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    # So that a negative number is a value.
    app.command("put", context_settings={"ignore_unknown_options": True})(put)


def put(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The program, and more after a dot: doors, doors.front.", autocompletion=completion.programs
        ),
    ],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="VALUE | KEY=VALUE...", help="What to store; `-` reads standard input.")
    ] = None,
    data: Annotated[
        bool, typer.Option("--data", help="A message for the hub, any bytes up to 512 KiB, instead of samples.")
    ] = False,
    settings_file: SettingsFile = None,
) -> None:
    """Store samples of the program NAME on this device; they go to the hub every minute (`forward.seconds`) while there is a link. Returns when they
    are on disk.

    A number is one sample. Of KEY=VALUE numbers, true and false are samples, NAME.KEY each, and other texts are attributes of all of them;
    `time` is when it was. Standard input may also be flat JSON objects, one a line, or InfluxDB's line protocol.

    The login is the one in the environment (NATS_USER and so on, as `edgeagent app add` writes it); a NAME that has one takes no other.

    Example: edgeagent put doors open=3 wide=true side=north

    \b
    edgeagent put water.level 0.82
    vcgencmd measure_temp | tr -dc 0-9. | edgeagent put soc -
    edgeagent put --data doors.photo - < photo.jpg
    """
    from edgeagent.assembly import appclient
    from edgeagent.assembly import put as work

    subject = work.data_subject(name) if data else work.sample_subject(name)
    payload = _payload(words or [], data)
    payload = payload if data else work.joined(subject, payload)
    running.run(work.put(appclient.way(os.environ, settings_file), subject, payload, samples=not data))
    if not data and (late := work.ahead(subject, payload, time.time())):
        count = "1 sample is" if late == 1 else f"{late} samples are"
        typer.echo(f"{count} more than 10 minutes ahead of this machine's clock: at the hub such are left out", err=True)


def _payload(words: list[str], data: bool) -> bytes:
    from edgeagent.assembly.put import MAX_DATA_BYTES, payload_of

    if not words:
        raise UsageProblem("put it into the store", "there is no value", "give one, or `-` to read standard input")
    if words == ["-"]:
        return sys.stdin.buffer.read(MAX_DATA_BYTES + 1)
    if not data:
        return payload_of(words)
    if len(words) > 1:
        raise UsageProblem("put it into the store", "a message is one text", "put it into quotes, or use `-`")
    return os.fsencode(words[0])
