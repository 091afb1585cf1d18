"""How the devices of a command are shown: rows of a table, live ones on a terminal, and lines of output."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from edgeagent.cli.harmless import json_text
from edgeagent.cli.table import MAX_CELL, PADDING, Column, Form, add_columns, emit, plain

if TYPE_CHECKING:
    from edgeagent.fleet.commandrun import Running
    from edgeagent.fleet.commandstatus import Row

__all__ = ["Board", "Lines", "as_json", "local", "minute", "show", "summary", "when", "with_local_times"]

_STYLES = {"succeeded": "green", "running": "cyan", "accepted": "cyan", "waiting": "dim", "no answer": "yellow"}
COLUMNS = [Column("id"), Column("state"), Column("device"), Column("exit"), Column("answer", narrow="wrap")]
#: Of the live table, what is beside the rows: headings, the summary, and the line of the cursor.
_LINES_BESIDE = 3
#: A time as devices write it into their reasons (:func:`edgeagent.times.rfc3339`).
_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z")


def local(moment: Any) -> str:
    """A moment as it reads here: the time of day, with the date where it is not today."""
    from datetime import datetime

    then = moment.astimezone()
    return str(then.strftime("%H:%M:%S" if then.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M:%S"))


def when(text: Any) -> str:
    """A time (RFC 3339) as a cell, as :func:`local` has it."""
    from edgeagent.times import parse_rfc3339

    return local(parse_rfc3339(text)) if text else "-"


def minute(text: Any) -> str:
    """The same without seconds, and as short as can be, for a table of many columns."""
    from datetime import datetime

    from edgeagent.times import parse_rfc3339

    if not text:
        return "-"
    then, now = parse_rfc3339(text).astimezone(), datetime.now().astimezone()
    return then.strftime("%H:%M" if then.date() == now.date() else "%m-%d %H:%M" if then.year == now.year else "%Y-%m-%d")


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
    """Why it ended so and what it answered; of what did neither, the last line that it wrote."""
    value = json_text(row.result.value) if row.result.value is not None else ""
    found = [text for text in (with_local_times(row.reason), value) if text]
    text = " · ".join(found) or row.result.output.rstrip().rpartition("\n")[2]
    return f"{'' if row.expected else '(not meant) '}{text}"[:MAX_CELL] or None


def with_local_times(text: str) -> str:
    """``text`` with the times in it as they read here."""
    from edgeagent.times import parse_rfc3339

    def read(found: re.Match[str]) -> str:
        try:
            return local(parse_rfc3339(found[0]))
        except (ValueError, OverflowError):  # it only looks like a time
            return found[0]

    return _MOMENT.sub(read, text)


def show(rows: Sequence[Row]) -> None:
    """The final table."""
    emit([record(row) for row in rows], COLUMNS, Form.table)


def as_json(running: Running, rows: Sequence[Row]) -> str:
    """The one form that programs get: {id, until, devices}."""
    from edgeagent.times import rfc3339

    devices = {row.id: row.as_dict() for row in rows}
    return json_text({"id": running.id, "until": rfc3339(running.until), "devices": devices}, indent=2)


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
            self._live.transient = kind is None  # the final table follows; who only stopped watching keeps what was there
            self._live.stop()

    def update(self, rows: Sequence[Row]) -> None:
        if self._live:
            self._live.update(_table(rows, self._live.console.size), refresh=True)
            return
        line = summary(rows)
        if line != self._said:
            typer.echo(line, err=True)
        self._said = line


def _table(rows: Sequence[Row], size: Any) -> Any:
    """size: of the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, pad_edge=False, padding=(0, PADDING, 0, 0), header_style="bold", caption=summary(rows), caption_justify="left"
    )
    # A terminal shows only so many lines: those that are over come last then.
    many = len(rows) + _LINES_BESIDE > size.height
    records = [record(row) for row in (sorted(rows, key=lambda row: row.is_over) if many else rows)]
    columns = [replace(column, narrow="cut") if column.narrow == "wrap" else column for column in COLUMNS]
    cells = [[column.show(found[column.name]) for column in columns] for found in records]
    add_columns(table, columns, cells, size.width - 2)  # the terminal writes ^C behind it: that must not begin a line
    for found, shown in zip(records, cells, strict=True):
        style = _STYLES.get(found["state"], "red")
        table.add_row(
            *(Text(text, style=style if column.name == "state" else "") for text, column in zip(shown, columns, strict=True))
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
