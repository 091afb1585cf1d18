"""The audit as people read it: who wanted what, of whom, until when, and who cancelled it; and who changed which configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from edgeagent.administration import AUDIT, AuditEntry, AuditPage, ReadAudit
from edgeagent.config import document_of
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError
from edgeagent.fleet.admin import Admin
from edgeagent.fleet.commandentry import Command, LogEntry, log_entry, made, place_of
from edgeagent.times import moment, parse_rfc3339, rfc3339
from edgeagent.trust.signed import peek, self_consistent

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


async def read(admin: Admin, since: datetime | None) -> list[Record]:
    """Everything since then, the oldest first. Raises Refused without the role admin."""
    entries: list[AuditEntry] = []
    order = ReadAudit(since=rfc3339(since) if since else "")
    while True:
        page = await admin.ask(AUDIT, order, AuditPage)
        entries += page.entries
        if not page.following:
            return records(entries)
        order = ReadAudit(first=page.following)


def records(entries: Sequence[AuditEntry]) -> list[Record]:
    """What the entries say, in their order. Entries of one command in several logs are one record. Pure."""
    logged: list[LogEntry] = []
    found: list[Record] = []
    for entry in entries:
        stored = Stored(entry.subject, entry.sequence, parse_rfc3339(entry.time), entry.data, entry.deleted)
        if entry.subject.startswith("$KV."):
            found.append(_document(stored))
        elif place_of(entry.subject) is None:
            found.append(Record(time=stored.time, what="unreadable", to=entry.subject, problem="it is no place in a log"))
        elif command := log_entry(stored):
            logged.append(command)
            found += [_unreadable(command)] if command.problem else []
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
    )


def _unreadable(entry: LogEntry) -> Record:
    return Record(time=entry.time, what="unreadable", to=f"{entry.scope} {entry.number}", problem=entry.problem)


def _document(stored: Stored) -> Record:
    """A document, by its key: ``$KV.<bucket>.<key>``."""
    _, _, rest = stored.subject.partition(".")
    bucket, _, key = rest.partition(".")
    record = Record(time=stored.time, what="config" if bucket == "edge_config" else "trust", to=key)
    if stored.deleted:
        return replace(record, note="deleted")
    try:
        envelope = peek(stored.data)
        if record.what == "config":
            record = replace(record, note=document_of(envelope.body.encode()).note)
        return replace(record, by=self_consistent(envelope))
    except EdgeError as error:
        # The hub itself hands out its certificate authorities; they are not signed.
        return record if key == "authorities" else replace(record, problem=error.why)
