"""One list of rows in the six forms that people and programs want: table, wide, json, ndjson, csv, name."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from edgeagent.cli.harmless import harmless, json_text
from edgeagent.cli.widths import fitted
from edgeagent.errors import UsageProblem

__all__ = ["Column", "Form", "add_columns", "bounded", "emit", "plain", "sort_rows", "write_csv"]

Record = Mapping[str, Any]


class Form(str, Enum):
    table = "table"
    wide = "wide"
    json = "json"
    ndjson = "ndjson"
    csv = "csv"
    name = "name"


def plain(value: Any) -> str:
    """A value as a cell: nothing for None, lists joined, the rest as it reads."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{plain(key)}={plain(item)}" for key, item in value.items()) or "-"
    return harmless(str(value)) or "-"


@dataclass(frozen=True)
class Column:
    """name: key of the record, and the column's name in csv and --sort. show: the value as a cell of a table. wide: only there.

    fact: the dotted name of the fact in it, empty if it is none. narrow: what becomes of it where a terminal is too narrow for the
    table; once one column is cut or wrapped, those that are to be kept are never cut.
    """

    name: str
    show: Callable[[Any], str] = plain
    wide: bool = False
    fact: str = ""
    narrow: Literal["keep", "cut", "wrap"] = "keep"

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").upper()


#: The longest cell of a table, in characters, and what is between two columns.
MAX_CELL, PADDING = 1000, 2
#: How a state looks on a terminal that has colours.
STYLES = {"online": "green", "suspect": "yellow", "offline": "red", "never seen": "dim", "revoked": "dim", "refused": "yellow"}


def sort_rows(records: Iterable[Record], by: str, columns: Sequence[Column]) -> list[Record]:
    """Sorted by the column ``by`` (``-name``: downwards); rows without a value come last."""
    name, down = by.lstrip("-"), by.startswith("-")
    if name not in {column.name for column in columns}:
        known = ", ".join(column.name for column in columns)
        raise UsageProblem(f"sort by {name!r}", "there is no such column", f"the columns are: {known}")
    records = list(records)
    there = sorted((r for r in records if r.get(name) is not None), key=lambda r: _key(r[name]), reverse=down)
    return there + [r for r in records if r.get(name) is None]


def _key(value: Any) -> tuple[int, Any]:
    number = isinstance(value, (int, float))
    return (0, value) if number else (1, str(value))


def emit(records: Sequence[Record], columns: Sequence[Column], form: Form) -> None:
    """Print the records in ``form`` on standard output."""
    if form is Form.json:
        print(json_text(list(records), indent=2))
    elif form is Form.ndjson:
        for record in records:
            print(json_text(record, separators=(",", ":")))
    elif form is Form.name:
        for name in dict.fromkeys(record["id"] for record in records):  # several records may be of one
            print(name)
    elif form is Form.csv:
        _csv(records, columns)
    else:
        _table(records, [column for column in columns if form is Form.wide or not column.wide])
    sys.stdout.flush()  # before what is said about it on standard error, also where both go into one pipe


def _csv(records: Sequence[Record], columns: Sequence[Column]) -> None:
    write_csv([[column.name for column in columns]])
    write_csv([record.get(column.name) for column in columns] for record in records)


def write_csv(lines: Iterable[Sequence[Any]]) -> None:
    """Lines of values as CSV on standard output, ended as Unix tools expect it. A program gets text as it is, a terminal does not."""
    cell = _shown if sys.stdout.isatty() else _cell
    csv.writer(sys.stdout, lineterminator="\n").writerows([cell(value) for value in line] for line in lines)


def _cell(value: Any) -> Any:
    return json_text(value) if isinstance(value, (list, dict, bool)) else value


def _shown(value: Any) -> Any:
    return harmless(value) if isinstance(value, str) else _cell(value)


def bounded(text: str) -> str:
    """One device's value must not push the others' out of the table; JSON has it whole."""
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _table(records: Sequence[Record], columns: Sequence[Column]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, PADDING, 0, 0), header_style="bold")
    cells = [[bounded(column.show(record.get(column.name))) for column in columns] for record in records]
    is_terminal = sys.stdout.isatty()
    # Not on a terminal there is no width to keep to: nothing may be cut.
    console = Console(width=None if is_terminal else 10_000, highlight=False)
    total = add_columns(table, columns, cells, console.width if is_terminal else None)
    for record, shown in zip(records, cells, strict=True):
        styles = [STYLES.get(str(record.get(column.name)), "") if column.name == "state" else "" for column in columns]
        table.add_row(*(Text(text, style=style) for text, style in zip(shown, styles, strict=True)))
    if any(column.narrow != "keep" for column in columns):
        # Where even that does not fit the terminal breaks the lines, for a cut id is none.
        console.width = max(console.width, total)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def add_columns(table: Any, columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int | None) -> int:
    """Add the columns to a table of rich, as wide as they may be; the width of all. cells: by row. width: the terminal's; None: any."""
    from rich.cells import cell_len

    needed = [max(map(cell_len, shown)) for shown in zip([column.title for column in columns], *cells, strict=True)]
    gives = [column.narrow != "keep" for column in columns]
    widths = fitted(needed, gives, (width or 10_000) - PADDING * (len(columns) - 1))
    for column, need, wide in zip(columns, needed, widths, strict=True):
        wraps = column.narrow == "wrap" and width is not None
        bounds = {"width": wide} if any(gives) else {}
        overflow = "ignore" if width is None else "fold" if wraps and need > wide else "ellipsis"
        table.add_column(column.title, no_wrap=not wraps, overflow=overflow, **bounds)
    return sum(widths) + PADDING * (len(columns) - 1)
