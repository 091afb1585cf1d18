"""``edgeagent collectors``: what this device measures, and trying one by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent import settings
from edgeagent.cli import metriccompletion, running
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import SettingsFile
from edgeagent.cli.table import Column, Form, emit, plain

if TYPE_CHECKING:
    from edgeagent.sample import Sample
    from edgeagent.settings import Settings
    from edgeagent.status import CollectorStatus

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="What this device measures, with its own collectors, plugins and programs.\n\nExample: edgeagent collectors ls",
)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def ls(settings_file: SettingsFile = None, as_json: AsJson = False) -> None:
    """List the collectors of this device, and how they did since its agent started. Needs no link. With --json also what they measure.

    Example: edgeagent collectors ls --json
    """
    from edgeagent.assembly.localcollectors import listed

    rows = listed(settings.load(settings_file), _status(settings.load(settings_file)))
    if as_json:
        print(json_text(rows, indent=2))
        return
    emit(
        rows,
        [
            Column("name"),
            Column("kind"),
            Column("state"),
            Column("runs"),
            Column("failures"),
            Column("ms"),
            Column("error"),
        ],
        Form.table,
    )
    _note(rows, settings.load(settings_file))


def _note(rows: Iterable[dict[str, Any]], own: Settings) -> None:
    """What is not as it looks."""
    from edgeagent import status
    from edgeagent.assembly.localconfig import effective
    from edgeagent.errors import EdgeError

    rows = list(rows)
    if unknown := sorted({*effective(own).sampling.disabled} - {row["name"] for row in rows}):
        typer.echo(f"sampling.disabled names what is no collector here: {plain(', '.join(unknown))}", err=True)
    is_running = False
    with contextlib.suppress(EdgeError):
        is_running = status.is_running(status.read(own.status_file))
    if not is_running:
        typer.echo("the agent is not running; this is what it knew last", err=True)
    elif any(row["kind"] == "program" and row["state"] == "has not run" for row in rows):
        typer.echo("a program that was added after the agent's start runs from its next start on", err=True)


def _status(own: Settings) -> list[CollectorStatus]:
    """What the agent last said of them; nothing when it has not run."""
    from edgeagent import status
    from edgeagent.errors import EdgeError

    with contextlib.suppress(EdgeError):
        sampling = status.read(own.status_file).sampling
        return sampling.collectors if sampling else []
    return []


@app.command()
def run(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="As `edgeagent collectors ls` lists it.", autocompletion=metriccompletion.collectors),
    ],
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Run the collector NAME once, here and now, and print its samples. Nothing is stored.

    A built-in one runs twice, a second apart, because what is measured of a time needs two rounds. A program that keeps running is ended
    after 10 seconds.

    Example: edgeagent collectors run cpu
    """
    from edgeagent.assembly.localcollectors import tried

    samples = running.run(tried(settings.load(settings_file), name))
    if as_json:
        for sample in samples:
            print(json_text(_row(sample)))
        return
    if not samples:
        typer.echo(f"{name} measured nothing: this machine has none of it", err=True)
        return
    emit(_rows(samples), [Column("metric"), Column("attributes"), Column("value"), Column("unit")], Form.table)


def _row(sample: Sample) -> dict[str, Any]:
    import msgspec

    return dict(msgspec.to_builtins(sample))


def _rows(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    return [
        {
            "metric": sample.metric,
            "attributes": ", ".join(f"{name}={value}" for name, value in sample.attributes.items()),
            "value": sample.value,
            "unit": sample.unit,
        }
        for sample in samples
    ]
