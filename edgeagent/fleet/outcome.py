"""What came of a live query, in four parts that are always there: answered, refused, silent, offline. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edgeagent import wire
from edgeagent.errors import Failed
from edgeagent.fleet.states import State
from edgeagent.subjects import parse_reply
from edgeagent.times import rfc3339

__all__ = ["Collector", "Outcome", "Row"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One device's part of an outcome.

    facts: what it answered; of a device that did not, what its last report said (as of ``as_of``), None if it never reported.
    matched: whether the filter holds; None when that cannot be known (never reported, or the report lacks the field).
    last_seen: the last moment at which it was certainly there. since: how long it has been in ``state``, where that is known.
    round_trip_ms: from asking to its answer.
    """

    id: str
    state: State
    facts: wire.Facts | None = None
    matched: bool | None = True
    groups: tuple[str, ...] = ()
    last_seen: datetime | None = None
    since: datetime | None = None
    as_of: datetime | None = None
    reason: str = ""
    round_trip_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ``id`` and whatever else is known."""
        values: dict[str, Any] = {"id": self.id, "state": str(self.state), "facts": self.facts}
        for name in ("last_seen", "since", "as_of"):
            moment = getattr(self, name)
            if moment is not None or name == "last_seen":
                values[name] = rfc3339(moment) if moment else None
        if self.state is not State.ONLINE or self.matched is not True:
            values["matched"] = self.matched
        if self.reason:
            values["reason"] = self.reason
        if self.round_trip_ms is not None:
            values["round_trip_ms"] = round(self.round_trip_ms, 2)
        return values


@dataclass(kw_only=True)
class Outcome:
    """The four parts, and what does not fit in a row.

    no_match: ids that answered that the filter does not hold (with matches_only: that did not answer). missing: how many of them lack something the filter names.
    unreadable: how many records of the hub made no sense.
    hub_time: the hub's clock as the question was asked.
    """

    answered: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    silent: list[Row] = field(default_factory=list)
    offline: list[Row] = field(default_factory=list)
    no_match: list[str] = field(default_factory=list)
    missing: int = 0
    elapsed_seconds: float = 0.0
    #: Silent ones that were waited for; the others were suspect already.
    waited_for: list[str] = field(default_factory=list)
    hub_time: datetime | None = None
    unreadable: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "answered": [row.as_dict() for row in self.answered],
            "refused": [row.as_dict() for row in self.refused],
            "silent": [row.as_dict() for row in self.silent],
            "offline": [row.as_dict() for row in self.offline],
            "no_match": self.no_match,
            "missing": self.missing,
            "elapsed_seconds": round(self.elapsed_seconds, 4),
        }


class Collector:
    """Gathers answers until everyone who was expected has answered. First answer of a device counts."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.answers: dict[str, tuple[wire.Answer, float]] = {}
        self.expected: frozenset[str] | None = None

    def hear(self, subject: str, data: bytes, seconds: float) -> str | None:
        """Take an answer that came ``seconds`` after the question; its device's id if it was new and for us."""
        parsed = parse_reply(subject)
        if parsed is None or parsed[1] != self.token or parsed[0] in self.answers:
            return None
        try:
            self.answers[parsed[0]] = wire.decode(data, wire.Answer), seconds
        except Failed as error:
            self.answers[parsed[0]] = wire.Answer(state="refused", code="unreadable", reason=error.why), seconds
        return parsed[0]

    @property
    def complete(self) -> bool:
        return self.expected is not None and self.expected <= self.answers.keys()

    @property
    def has_match(self) -> bool:
        return any(answer.state == "match" for answer, _ in self.answers.values())
