"""What the fleet commands list: outcomes of queries as flat records, and how each value reads in a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from edgeagent.cli.table import Column, Form, plain
from edgeagent.times import age, duration, parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from edgeagent import wire
    from edgeagent.fleet import Outcome, Row

__all__ = ["all_rows", "chosen", "fields_of", "listing", "milliseconds", "record", "records", "rounded"]

#: Columns of `fleet ls` and the fact behind each.
FACTS = {
    "site": "labels.site",
    "model": "model",
    "version": "versions.agent",
    "uptime": "uptime_seconds",
    "temperature": "temperature_celsius",
    "os": "os.pretty",
    "architecture": "architecture",
    "addresses": "addresses",
    "labels": "labels",
}


def _uptime(value: Any) -> str:
    return "-" if value is None else duration(value)


def _temperature(value: Any) -> str:
    return "-" if value is None else f"{value:.1f} °C"


def milliseconds(value: Any) -> str:
    return "-" if value is None else f"{value:.1f}"


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _ago(value: Any) -> str:
    if value is None:
        return "never"
    then = parse_rfc3339(value)
    how_long = age(then, datetime.now(timezone.utc))
    return how_long if how_long == "now" else f"{how_long} ({_clock(then)})"


def _clock(then: datetime) -> str:
    """The time of day here, with the date when it was not today."""
    local = then.astimezone()
    return local.strftime("%H:%M:%S" if local.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def listing(label_columns: Sequence[str]) -> list[Column]:
    """The columns of `fleet ls`."""
    return [
        Column("id"),
        Column("state"),
        Column("site"),
        *(Column(name) for name in label_columns),
        Column("model"),
        Column("version"),
        Column("uptime", _uptime),
        Column("temperature", _temperature),
        Column("last_seen", _ago),
        Column("groups", wide=True),
        Column("os", wide=True),
        Column("architecture", wide=True),
        Column("addresses", wide=True),
        Column("labels", wide=True),
    ]


def fields_of(columns: Sequence[Column], form: Form) -> list[str]:
    """The facts that the columns need; the wide ones only where they are shown."""
    everything = form not in (Form.table, Form.name)
    shown = [column.name for column in columns if everything or not column.wide]
    return [FACTS.get(name, f"labels.{name}") for name in shown if name not in ("id", "state", "last_seen", "groups")]


def chosen(names: Sequence[str]) -> list[Column]:
    """The columns of a query that selects ``names``."""
    return [Column("id"), Column("state"), *(Column(name) for name in names), Column("last_seen", _ago)]


def all_rows(outcome: Outcome) -> Iterator[Row]:
    """Every device that belongs in the list: those that do not match are left out, also on the word of their last report."""
    for row in sorted([*outcome.answered, *outcome.refused, *outcome.silent, *outcome.offline], key=lambda row: row.id):
        if row.matched is not False:
            yield row


def records(outcome: Outcome, columns: Sequence[Column], form: Form, *, only_answers: bool) -> list[dict[str, Any]]:
    rows = outcome.answered if only_answers else all_rows(outcome)
    return [record(row, columns, form) for row in rows]


def record(row: Row, columns: Sequence[Column], form: Form) -> dict[str, Any]:
    """One device as a flat record. What changes by itself is not in a report, so a device that is away shows none of it."""
    state = "refused" if row.reason else str(row.state)
    values: dict[str, Any] = {"id": row.id, "state": state}
    for column in columns:
        if column.name in values or (column.wide and form is Form.table):
            continue
        if column.name == "last_seen":
            values["last_seen"] = rfc3339(row.last_seen) if row.last_seen else None
        elif column.name == "groups":
            values["groups"] = list(row.groups)
        else:
            values[column.name] = look_up(row.facts or {}, FACTS.get(column.name, column.name), column.name)
    if row.since:
        values["since"] = rfc3339(row.since)
    if row.reason:
        values["reason"] = row.reason
    return values


def look_up(facts: wire.Facts, name: str, label: str) -> Any:
    """The fact ``name`` out of nested facts; else the label of that name; None if there is neither."""
    for path in (name.split("."), ["labels", label]):
        value: Any = facts
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def cells(values: dict[str, Any], columns: Sequence[Column]) -> str:
    """A record as one line, for answers that are printed as they come."""
    return "  ".join(column.show(values.get(column.name)) if column.name in values else plain(None) for column in columns)
