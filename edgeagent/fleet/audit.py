"""The audit as people read it: who wanted what, of whom, until when, and who cancelled it; and who changed which configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from edgeagent.administration import AUDIT, AuditEntry, AuditPage, ReadAudit
from edgeagent.command import CANCEL
from edgeagent.config import document_of
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError
from edgeagent.fleet.admin import Admin
from edgeagent.fleet.commandentry import Command, LogEntry, log_entry, made, place_of
from edgeagent.fleet.rolekeys import judged
from edgeagent.subjects import AUTHORITIES, SIGNERS, Scope
from edgeagent.times import moment, parse_rfc3339, rfc3339
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import peek
from edgeagent.trust.signers import envelope_of

__all__ = ["Record", "read", "records"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One thing that was done. what: ``command``, ``config``, ``trust`` or, for what makes no sense, ``unreadable``.

    time: the hub's. by: who signed it, as the signature proves; empty: it proves nothing. to: whom it is for. until: Unix seconds, 0 where nothing expires.
    """

    time: datetime
    what: str
    by: str = ""
    to: str = ""
    id: str = ""
    action: str = ""
    args: dict[str, Any] | None = None
    note: str = ""
    until: int = 0
    cancelled_by: str = ""
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found: dict[str, Any] = {
            "time": rfc3339(self.time),
            "what": self.what,
            "by": self.by or None,
            "to": self.to,
            "note": self.note,
        }
        if self.what == "command":
            until = rfc3339(moment(self.until))
            command = {"id": self.id, "action": self.action, "args": self.args, "until": until}
            found |= {**command, "cancelled_by": self.cancelled_by or None}
        return {**found, "problem": self.problem} if self.problem else found


async def read(admin: Admin, since: datetime | None, pins: Pins | None = None) -> list[Record]:
    """Everything since then, the oldest first. pins: as of :func:`records`. Raises Refused without the role admin."""
    entries: list[AuditEntry] = []
    order = ReadAudit(since=rfc3339(since) if since else "")
    while True:
        page = await admin.ask(AUDIT, order, AuditPage)
        entries += page.entries
        if not page.following:
            return records(entries, pins)
        order = ReadAudit(first=page.following)


def records(entries: Sequence[AuditEntry], pins: Pins | None = None) -> list[Record]:
    """What the entries say, in their order. Entries of one command in several logs are one record. Pure.

    pins: whom devices follow now: what they would not follow has a problem, and mostly nobody's name; None: nobody told.
    """
    logged: list[LogEntry] = []
    found: list[Record] = []
    for entry in entries:
        stored = Stored(entry.subject, entry.sequence, parse_rfc3339(entry.time), entry.data, entry.deleted)
        if entry.subject.startswith("$KV."):
            found.append(_document(stored, pins))
        elif place_of(entry.subject) is None:
            found.append(Record(time=stored.time, what="unreadable", to=entry.subject, problem="it is no place in a log"))
        elif command := log_entry(stored, pins):
            logged.append(command)
            found += [_unreadable(command)] if _is_unreadable(command) else []
    found += [_command(command) for command in made(logged)]
    return sorted(found, key=lambda record: record.time)


def _command(command: Command) -> Record:
    return Record(
        time=command.time,
        what="command",
        by=command.by,
        to=command.selector,
        id=command.id,
        action=command.action,
        args=command.args,
        note=command.note,
        until=command.until,
        cancelled_by=command.cancelled_by,
        problem=command.problem,
    )


def _is_unreadable(entry: LogEntry) -> bool:
    """Whether it is no record as a command: nobody signed it, or it is a cancel that does not count."""
    return bool(entry.problem) and not (entry.whole and entry.entry and entry.entry.action != CANCEL)


def _unreadable(entry: LogEntry) -> Record:
    return Record(time=entry.time, what="unreadable", to=f"{entry.scope} {entry.number}", problem=entry.problem)


def _document(stored: Stored, pins: Pins | None) -> Record:
    """A document, by its key: ``$KV.<bucket>.<key>``."""
    _, _, rest = stored.subject.partition(".")
    bucket, _, key = rest.partition(".")
    record = Record(time=stored.time, what="config" if bucket == "edge_config" else "trust", to=key)
    if stored.deleted:
        return replace(record, note="deleted")
    if key == str(AUTHORITIES).rpartition(".")[2] and record.what == "trust":
        return record  # the hub itself hands them out; they are not signed
    try:
        data, kind = (stored.data, "config") if record.what == "config" else (envelope_of(stored.data), "signers")
        if kind == "config":
            record = replace(record, note=document_of(peek(data).body.encode()).note)
    except EdgeError as error:
        return replace(record, problem=error.why)
    verdict = judged(data, kind=kind, scope=_scope(record.what, key), pins=pins)
    return replace(record, by=verdict.by, problem=verdict.problem)


def _scope(what: str, key: str) -> Scope:
    if what == "trust":
        return SIGNERS
    kind, _, name = key.partition(".")
    return Scope(kind, name)
