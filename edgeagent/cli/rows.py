"""What the fleet commands list: outcomes of queries as flat records, and how each value reads in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edgeagent.cli.table import Column, Form, plain
from edgeagent.times import age, duration, rfc3339

if TYPE_CHECKING:
    from edgeagent import wire
    from edgeagent.fleet import Outcome, Row

__all__ = ["all_rows", "chosen", "fields_of", "listing", "milliseconds", "record", "records", "rounded"]


def _number(show: Callable[[float], str]) -> Callable[[Any], str]:
    """A cell for a number; whatever else a device may say there is shown as it is."""
    return lambda value: show(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else plain(value)


_uptime = _number(duration)
_temperature = _number(lambda value: f"{value:.1f} °C")
milliseconds = _number(lambda value: f"{value:.1f}")


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


class Moment(str):
    """A time as RFC 3339, which also knows how it reads in a table."""

    shown: str

    @classmethod
    def seen(cls, row: Row, now: datetime | None) -> Moment | None:
        """When the device was last seen. now: the hub's clock, for a laptop's may be wrong; None: not known yet."""
        if row.last_seen is None:
            return None
        moment = cls(rfc3339(row.last_seen))
        moment.shown = "now"
        if row.round_trip_ms is None and now is not None:
            moment.shown = f"{age(row.last_seen, now)} ({_clock(row.last_seen)})"
        return moment


def _seen(value: Any) -> str:
    return value.shown if isinstance(value, Moment) else "never"


def _clock(then: datetime) -> str:
    """The time of day here, with the date when it was not today."""
    local = then.astimezone()
    return local.strftime("%H:%M:%S" if local.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def listing(label_columns: Sequence[str]) -> list[Column]:
    """The columns of `fleet ls`; a label that has the name of one takes its place."""
    labels = {name: Column(name, fact=f"labels.{name}") for name in label_columns if name not in ("id", "state")}
    columns = [
        Column("id"),
        Column("state"),
        Column("site", fact="labels.site"),
        *labels.values(),
        Column("model", fact="model"),
        Column("version", fact="versions.agent"),
        Column("uptime", _uptime, fact="uptime_seconds"),
        Column("temperature", _temperature, fact="temperature_celsius"),
        Column("last_seen", _seen),
        Column("alerts", wide=True, fact="alerts"),
        Column("groups", wide=True),
        Column("os", wide=True, fact="os.pretty"),
        Column("architecture", wide=True, fact="architecture"),
        Column("addresses", wide=True, fact="addresses"),
        Column("labels", wide=True, fact="labels"),
        Column("upgrade_failed", wide=True, fact="upgrade.failed.version"),
    ]
    return [column for column in columns if column.name not in labels or column is labels[column.name]]


def fields_of(columns: Sequence[Column], form: Form) -> list[str]:
    """The facts that the columns need; the wide ones only where they are shown."""
    everything = form not in (Form.table, Form.name)
    return [column.fact for column in columns if column.fact and (everything or not column.wide)]


def chosen(names: Sequence[str]) -> list[Column]:
    """The columns of a query that selects ``names``."""
    return [Column("id"), Column("state"), *(Column(name, fact=name) for name in names), Column("last_seen", _seen)]


def all_rows(outcome: Outcome) -> Iterator[Row]:
    """Every device that belongs in the list: those that do not match are left out, also on the word of their last report."""
    for row in sorted([*outcome.answered, *outcome.refused, *outcome.silent, *outcome.offline], key=lambda row: row.id):
        if row.matched is not False:
            yield row


def records(outcome: Outcome, columns: Sequence[Column], form: Form, *, only_answers: bool) -> list[dict[str, Any]]:
    rows = outcome.answered if only_answers else all_rows(outcome)
    return [record(row, columns, form, outcome.hub_time) for row in rows]


def record(row: Row, columns: Sequence[Column], form: Form, now: datetime | None = None) -> dict[str, Any]:
    """One device as a flat record. What changes by itself is not in a report, so a device that is away shows none of it."""
    state = "refused" if row.reason else str(row.state)
    values: dict[str, Any] = {"id": row.id, "state": state}
    for column in columns:
        if column.name in values or (column.wide and form is Form.table):
            continue
        if column.fact:
            values[column.name] = look_up(row.facts or {}, column.fact)
        elif column.name == "last_seen":
            values["last_seen"] = Moment.seen(row, now)
        elif column.name == "groups":
            values["groups"] = list(row.groups)
    if row.since:
        values["since"] = rfc3339(row.since)
    if row.reason:
        values["reason"] = row.reason
    return values


def look_up(facts: wire.Facts, name: str) -> Any:
    """The fact ``name`` (dotted) out of nested facts; None if it is not there."""
    value: Any = facts
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def cells(values: dict[str, Any], columns: Sequence[Column]) -> str:
    """A record as one line, for answers that are printed as they come."""
    return "  ".join(column.show(values.get(column.name)) if column.name in values else plain(None) for column in columns)
