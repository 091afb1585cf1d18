"""``edgeagent fleet``: ask the whole fleet at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import fleet_upgrade, rows, running, show
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import Cached, ContextName, Devices, Groups, Json, Labels, Output, Strict, Timeout, Where
from edgeagent.cli.table import Column, Form, emit, sort_rows

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet, Outcome

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Ask the whole fleet at once.\n\nExample: edgeagent fleet ls -l site=berlin")

fleet_upgrade.add_to(app)

First = Annotated[bool, typer.Option("--first", help="End at the first match.")]
Stream = Annotated[bool, typer.Option("--stream", help="Print each answer as it comes, unsorted.")]


def _with_fleet(context: str | None, work: Callable[[Fleet], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        from edgeagent.fleet import Fleet

        async with Fleet(context) as fleet:
            return await work(fleet)

    return running.run(run())


@app.command()
def ls(
    labels: Labels = None,
    groups: Groups = None,
    devices: Devices = None,
    where: Where = "",
    columns: Annotated[
        list[str] | None, typer.Option("-L", "--label-column", help="Add a column for this label.", metavar="KEY")
    ] = None,
    sort: Annotated[str, typer.Option("--sort", help="Sort by this column; -COLUMN downwards.", metavar="COLUMN")] = "id",
    output: Output = Form.table,
    as_json: Json = False,
    first: First = False,
    stream: Stream = False,
    cached: Cached = False,
    timeout: Timeout = 3.0,
    strict: Strict = False,
    context: ContextName = None,
) -> None:
    """List the devices: those that answer now, and those that don't, with when they were last seen.

    Example: edgeagent fleet ls -l site=berlin -L floor --sort -uptime
    """
    form = Form.json if as_json else output
    table = rows.listing(columns or [])
    sort_rows([], sort, table)  # a mistyped column is said before any device is woken
    outcome, printer = _ask(
        table,
        form,
        stream=stream,
        context=context,
        where=where,
        select=rows.fields_of(table, form),
        labels=labels or (),
        groups=groups or (),
        devices=devices or (),
        timeout=timeout,
        first=first,
        cached=cached,
    )
    listed = rows.records(outcome, table, form, only_answers=False)
    if printer:
        printer.rest(listed)
    else:
        emit(sort_rows(listed, sort, table), table, form)
    show.footer(outcome, form, cached=cached)
    show.end(outcome, strict=strict)


@app.command()
def query(
    expression: Annotated[str, typer.Argument(help="CEL over the facts; `edgeagent fleet fields` lists them.", metavar="EXPR")],
    select: Annotated[str, typer.Option("--select", help="Facts to show, separated by commas.", metavar="FIELDS")] = "",
    labels: Labels = None,
    groups: Groups = None,
    devices: Devices = None,
    output: Output = Form.table,
    as_json: Annotated[bool, typer.Option("--json", help="One object: answered, refused, silent, offline, no_match.")] = False,
    first: First = False,
    stream: Stream = False,
    cached: Cached = False,
    timeout: Timeout = 3.0,
    strict: Strict = False,
    context: ContextName = None,
) -> None:
    """Ask for which devices EXPR holds. Each device filters itself.

    Example: edgeagent fleet query 'memory.utilization > 0.8' --select memory.utilization,uptime_seconds
    """
    _facts(
        select.split(","),
        Form.json if as_json else output,
        strict=strict,
        stream=stream,
        context=context,
        where=expression,
        labels=labels or (),
        groups=groups or (),
        devices=devices or (),
        timeout=timeout,
        first=first,
        cached=cached,
    )


@app.command()
def get(
    fields: Annotated[list[str], typer.Argument(help="Facts to show, such as os.pretty.", metavar="FIELD...")],
    labels: Labels = None,
    groups: Groups = None,
    devices: Devices = None,
    where: Where = "",
    output: Output = Form.table,
    as_json: Annotated[bool, typer.Option("--json", help="One object: answered, refused, silent, offline, no_match.")] = False,
    stream: Stream = False,
    cached: Cached = False,
    timeout: Timeout = 3.0,
    strict: Strict = False,
    context: ContextName = None,
) -> None:
    """Show facts of every device.

    Example: edgeagent fleet get kernel os.pretty -g berlin
    """
    _facts(
        fields,
        Form.json if as_json else output,
        strict=strict,
        stream=stream,
        context=context,
        where=where,
        labels=labels or (),
        groups=groups or (),
        devices=devices or (),
        timeout=timeout,
        cached=cached,
    )


def _facts(select: list[str], form: Form, *, strict: bool, **question: Any) -> None:
    """Ask, and show the facts of ``select``. question: what :func:`_ask` takes."""
    names = [name.strip() for name in select if name.strip()]
    table = rows.chosen(names)
    outcome, printer = _ask(table, form, select=names, **question)
    if printer:
        printer.rest(rows.records(outcome, table, form, only_answers=True))
    elif form is Form.json:
        print(json_text(outcome.as_dict(), indent=2))
    else:
        emit(rows.records(outcome, table, form, only_answers=form is Form.name), table, form)
    show.footer(outcome, form, cached=question["cached"])
    show.end(outcome, strict=strict)


def _ask(
    table: Sequence[Column], form: Form, *, stream: bool, context: str | None, **question: Any
) -> tuple[Outcome, show.Streamer | None]:
    """Ask the fleet; answers are printed as they come when ``stream`` is on. question: the arguments of Fleet.query."""
    printer = show.Streamer(table, form) if stream else None

    async def work(fleet: Fleet) -> Outcome:
        return await fleet.query(**question, on_answer=printer.print if printer else None)

    return _with_fleet(context, work), printer


@app.command()
def ping(
    labels: Labels = None,
    groups: Groups = None,
    devices: Devices = None,
    output: Output = Form.table,
    as_json: Json = False,
    timeout: Timeout = 3.0,
    strict: Strict = False,
    context: ContextName = None,
) -> None:
    """Measure how long each device takes to answer, from here and back.

    Example: edgeagent fleet ping -g berlin
    """
    selection = {"labels": labels or (), "groups": groups or (), "devices": devices or (), "timeout": timeout}
    outcome = _with_fleet(context, lambda fleet: fleet.ping(**selection))
    form = Form.json if as_json else output
    records: list[dict[str, Any]] = [
        {"id": row.id, "state": str(row.state), "round_trip_ms": rows.rounded(row.round_trip_ms)}
        for row in rows.all_rows(outcome)
    ]
    table = [Column("id"), Column("state"), Column("round_trip_ms", rows.milliseconds)]
    if form is Form.json:
        times = show.percentiles(outcome)
        print(json.dumps({"devices": records, **times}, indent=2))
    else:
        emit(records, table, form)
        if times := show.percentiles(outcome):
            typer.echo(" · ".join(f"{name.removesuffix('_ms')} {value:.1f} ms" for name, value in times.items()), err=True)
    show.footer(outcome, form)
    show.end(outcome, strict=strict)


@app.command()
def fields(output: Output = Form.table, as_json: Json = False, context: ContextName = None) -> None:
    """List every fact that can be asked for.

    Example: edgeagent fleet fields | grep memory
    """
    found = _with_fleet(context, lambda fleet: fleet.fields())
    records = [
        {"id": f.name, "type": f.type, "read": "when asked" if f.volatile else "reported", "description": f.description}
        for f in found
    ]
    emit(records, [Column("id"), Column("type"), Column("read"), Column("description")], Form.json if as_json else output)


@app.command()
def watch(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False, context: ContextName = None
) -> None:
    """Show devices coming, going and reporting, as it happens, until Ctrl-C.

    Example: edgeagent fleet watch
    """

    async def work(fleet: Fleet) -> None:
        async for change in fleet.watch(ready=lambda: typer.echo("watching; Ctrl-C ends it", err=True)):
            show.change(change, as_json=as_json)
            sys.stdout.flush()

    try:
        _with_fleet(context, work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # asked for: nothing went wrong
