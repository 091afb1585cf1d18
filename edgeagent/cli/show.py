"""What is said beside the list itself: streamed rows, the summary below it, the exit code."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from edgeagent.cli import rows
from edgeagent.cli.harmless import json_text
from edgeagent.cli.table import Column, Form, plain, write_csv
from edgeagent.errors import Incomplete
from edgeagent.times import age, rfc3339

if TYPE_CHECKING:
    from edgeagent.fleet import Change, Outcome, Row

__all__ = ["Streamer", "change", "end", "footer", "percentiles"]


class Streamer:
    """Prints answers as they come: JSON lines or CSV where a program reads, else one line of cells each."""

    def __init__(self, columns: Sequence[Column], form: Form) -> None:
        self._columns = [column for column in columns if form is not Form.table or not column.wide]
        self._form = form
        self._printed: set[str] = set()
        if form is Form.csv:
            write_csv([[column.name for column in self._columns]])

    def print(self, row: Row) -> None:
        self._line(rows.record(row, self._columns, self._form))

    def rest(self, records: Sequence[dict[str, Any]]) -> None:
        """The rows that did not answer."""
        for record in records:
            if record["id"] not in self._printed:
                self._line(record)

    def _line(self, record: dict[str, Any]) -> None:
        self._printed.add(record["id"])
        if self._form is Form.name:
            print(record["id"], flush=True)
        elif self._form in (Form.json, Form.ndjson):
            print(json_text(record, separators=(",", ":")), flush=True)
        elif self._form is Form.csv:
            write_csv([[record.get(column.name) for column in self._columns]])
            sys.stdout.flush()
        else:
            print(rows.cells(record, self._columns), flush=True)


def footer(outcome: Outcome, form: Form, *, cached: bool = False) -> None:
    """One line on standard error that accounts for every device of the selection. cached: nobody was asked."""
    if form not in (Form.table, Form.wide):
        return
    away = [row for row in outcome.offline if row.matched is not False]
    quiet = [row for row in outcome.silent if row.matched is not False]
    parts = [f"{len(outcome.answered)} {'by their last reports' if cached else 'answered'}"]
    parts += [
        f"{len(part)} {word}" for part, word in ((outcome.refused, "refused"), (quiet, "silent"), (away, "not online")) if part
    ]
    others = len(outcome.no_match) + sum(row.matched is False for row in [*outcome.silent, *outcome.offline])
    if others:
        lacking = f", {outcome.missing} of them for lack of the field" if outcome.missing else ""
        parts.append(f"{others} did not match{lacking}")
    typer.echo(f"{' · '.join(parts)} · {outcome.elapsed_seconds:.2f} s", err=True)
    for row in outcome.refused:
        typer.echo(f"{row.id} refused: {plain(row.reason)}", err=True)
    for row in quiet:
        seen = age(row.last_seen, outcome.hub_time) if row.last_seen and outcome.hub_time else "never"
        typer.echo(f"{row.id} is silent (last seen {seen}); it is not waited for again until it speaks", err=True)
    if outcome.unreadable:
        typer.echo(f"{outcome.unreadable} records of the hub make no sense (of a tampered device?) and were left out", err=True)
    if not (outcome.answered or outcome.refused or quiet or away or others):
        typer.echo("There are no devices yet: `edgeagent token create` lets the first one in.", err=True)


def end(outcome: Outcome, *, strict: bool) -> None:
    """Raise Incomplete when --strict is wanted and somebody who was expected did not answer."""
    if strict and (outcome.silent or outcome.refused):
        names = ", ".join(row.id for row in [*outcome.silent, *outcome.refused])
        raise Incomplete("be sure of the whole fleet", f"no answer from {names}")


def percentiles(outcome: Outcome) -> dict[str, float]:
    """Minimum, median and 99th percentile of the round trips in milliseconds; empty when nobody answered."""
    times = sorted(row.round_trip_ms for row in outcome.answered if row.round_trip_ms is not None)
    if not times:
        return {}
    index = min(len(times) - 1, round(0.99 * (len(times) - 1)))
    return {"min_ms": round(times[0], 2), "median_ms": round(statistics.median(times), 2), "p99_ms": round(times[index], 2)}


def change(what: Change, *, as_json: bool) -> None:
    """One line of `fleet watch`."""
    if as_json:
        print(json_text({"time": rfc3339(what.time), "id": what.id, "what": what.what, "detail": what.detail}))
        return
    detail = plain(what.detail) if isinstance(what.detail, str) and what.detail else ""
    local = what.time.astimezone().strftime("%H:%M:%S")
    print(f"{local}  {what.id or 'the connection'}  {what.what}{f'  ({detail})' if detail else ''}")
    sys.stdout.flush()
