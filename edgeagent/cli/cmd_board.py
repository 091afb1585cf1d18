"""How the devices of a command are shown: rows of a table, live ones on a terminal, and lines of output."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from edgeagent.cli.table import MAX_CELL, Column, Form, emit, plain

if TYPE_CHECKING:
    from edgeagent.fleet.commandrun import Running
    from edgeagent.fleet.commandstatus import Row

__all__ = ["Board", "Lines", "as_json", "local", "show", "summary"]

_STYLES = {"succeeded": "green", "running": "cyan", "accepted": "cyan", "waiting": "dim", "no answer": "yellow"}
COLUMNS = [Column("id"), Column("state"), Column("device"), Column("exit"), Column("answer")]


def local(moment: Any) -> str:
    """A moment as it reads here: the time of day, with the date where it is not today."""
    from datetime import datetime

    then = moment.astimezone()
    return str(then.strftime("%H:%M:%S" if then.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M:%S"))


def record(row: Row) -> dict[str, Any]:
    """One device as cells."""
    return {
        "id": row.id,
        "state": row.state,
        "device": str(row.device) if row.device else None,
        "exit": row.result.exit_code,
        "answer": _answer(row),
    }


def _answer(row: Row) -> str | None:
    """Why it ended so, else the last line that it wrote, else what it answered."""
    last = row.result.output.rstrip().rpartition("\n")[2]
    text = row.reason or last or (json.dumps(row.result.value, ensure_ascii=False) if row.result.value is not None else "")
    return text[:MAX_CELL] or None


def show(rows: Sequence[Row]) -> None:
    """The final table."""
    emit([record(row) for row in rows], COLUMNS, Form.table)


def as_json(running: Running, rows: Sequence[Row]) -> str:
    """The one form that programs get: {id, until, devices}."""
    from edgeagent.times import rfc3339

    devices = {row.id: row.as_dict() for row in rows}
    return json.dumps({"id": running.id, "until": rfc3339(running.until), "devices": devices}, indent=2, ensure_ascii=False)


def summary(rows: Sequence[Row]) -> str:
    """``2 succeeded · 1 waiting``."""
    from edgeagent.fleet.commandstatus import counts

    return " · ".join(f"{count} {plain(state)}" for state, count in counts(rows).items()) or "no device"


class Board:
    """Shows the rows as they change, as a context manager: a table on a terminal, elsewhere a line on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._live: Any = None
        self._said = ""
        self._table = sys.stdout.isatty() and not quiet

    def __enter__(self) -> Board:
        if self._table:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(highlight=False), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def update(self, rows: Sequence[Row]) -> None:
        if self._live:
            self._live.update(_table(rows), refresh=True)
            return
        line = summary(rows)
        if line != self._said:
            typer.echo(line, err=True)
        self._said = line


def _table(rows: Sequence[Row]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", caption=summary(rows), caption_justify="left"
    )
    for column in COLUMNS:
        table.add_column(column.title, no_wrap=True, overflow="ellipsis")
    # The ones that are over come last: a terminal shows only so many lines.
    for row in sorted(rows, key=lambda row: row.is_over):
        cells = record(row)
        style = _STYLES.get(row.state, "red")
        table.add_row(
            *(Text(column.show(cells[column.name]), style=style if column.name == "state" else "") for column in COLUMNS)
        )
    return table


class Lines:
    """Prints what the devices write, line by line with their id before it. prefixed: False for one device alone."""

    def __init__(self, *, prefixed: bool = True) -> None:
        self._tails: dict[str, Any] = {}
        self._prefixed = prefixed

    def update(self, rows: Sequence[Row]) -> None:
        from edgeagent.fleet.commandtext import Tail

        for row in rows:
            tail = self._tails.setdefault(row.id, Tail())
            for line in tail.take(row.result.output, row.result.output_bytes, ended=row.is_over):
                shown = plain(line.expandtabs()) if line else ""
                print(f"{row.id}: {shown}" if self._prefixed else shown)
        sys.stdout.flush()
