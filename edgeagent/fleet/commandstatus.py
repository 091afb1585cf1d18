"""What became of a command: the devices that should carry it out beside the results that the hub has. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from edgeagent import wire
from edgeagent.command import FINAL, Result
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError
from edgeagent.fleet.states import State
from edgeagent.subjects import is_id

__all__ = [
    "ENDS",
    "FAILED",
    "NOT_MEANT",
    "NO_ANSWER",
    "TO_RETRY",
    "UNANSWERED",
    "WAITING",
    "Answer",
    "Row",
    "answer_of",
    "counts",
    "exit_code",
    "rows_of",
]

#: What a device is in that has not answered yet; and once it will not begin any more.
WAITING, NO_ANSWER = "waiting", "no answer"
#: How devices are counted that said something of a command that is not for them.
NOT_MEANT = "not meant"
#: A result may be under way that long after the last moment to begin.
GRACE = timedelta(seconds=5)
#: In these states it may be worth to try again: the device did not do it, or nobody knows.
TO_RETRY = frozenset({"failed", "timed_out", "unknown", "expired", NO_ANSWER})
#: All in which a device may be that nothing more is to be expected of.
ENDS = FINAL | {NO_ANSWER}
#: Exit codes of --wait: some ended otherwise than succeeded; some have not answered.
FAILED, UNANSWERED = 3, 4


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The newest thing that a device said of a command.

    sequence, time: the hub's. result: None when it makes no sense, and then ``problem`` says why.
    """

    device: str
    sequence: int
    time: datetime
    result: Result | None = None
    problem: str = ""


def answer_of(stored: Stored, command_id: str) -> Answer | None:
    """A message of EDGE_RESULTS; None when its subject is nobody's result of this command. Never raises."""
    tokens = stored.subject.split(".")
    if len(tokens) != 5 or tokens[3:] != ["result", command_id] or not is_id(tokens[2]):
        return None  # a tampered leaf can store under edge.from.*, with a literal asterisk; nobody is called that
    bare: dict[str, Any] = {"device": tokens[2], "sequence": stored.sequence, "time": stored.time}
    try:
        result = wire.decode(stored.data, Result)
        wire.check_depth({"value": result.value}, "its value")
    except (EdgeError, ValueError) as error:
        return Answer(**bare, problem=f"what it answered makes no sense ({getattr(error, 'why', error)})")
    return Answer(**bare, result=result)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One device. state: that of its result, or ``waiting`` or ``no answer``. device: online, offline, ...; None: not known to the hub.

    expected: by the hub's reports the command is for it, or may be. Whoever else says something of it counts for nothing.
    """

    id: str
    state: str
    device: State | None = None
    expected: bool = True
    result: Result = field(default_factory=lambda: Result(id="", state="accepted"))
    reason: str = ""
    time: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be expected."""
        return self.state in ENDS

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        result = self.result
        return {
            "state": self.state,
            "device": str(self.device) if self.device else None,
            "expected": self.expected,
            "reason": self.reason,
            "code": result.code,
            "output": result.output,
            "output_bytes": result.output_bytes,
            "exit_code": result.exit_code,
            "value": result.value,
            "accepted": result.accepted or None,
            "started": result.started or None,
            "ended": result.ended or None,
            "superseded_by": result.superseded_by or None,
        }


def rows_of(
    expected: Mapping[str, State],
    answers: Iterable[Answer],
    *,
    until: float,
    now: datetime,
    others: Mapping[str, State] | None = None,
    perhaps: Collection[str] = (),
) -> list[Row]:
    """A row for every device that should answer, and for those that did, by id.

    expected: by id, what each of them is in. until: when the command is not begun any more, Unix seconds. now: the hub's clock.
    others: what the rest of the fleet is in. perhaps: those of which the reports do not tell; once they answer they are meant.
    """
    over = now.timestamp() > until + GRACE.total_seconds()
    silent = NO_ANSWER if over else WAITING
    found = {device: Row(id=device, state=silent, device=state) for device, state in expected.items()}
    states = {**(others or {}), **expected}
    for answer in answers:
        is_meant = answer.device in expected or answer.device in perhaps
        found[answer.device] = _answered(answer, states.get(answer.device), expected=is_meant)
    return [found[device] for device in sorted(found)]


def _answered(answer: Answer, device: State | None, *, expected: bool) -> Row:
    bare: dict[str, Any] = {"id": answer.device, "device": device, "expected": expected, "time": answer.time}
    if answer.result is None:
        return Row(**bare, state="unknown", reason=answer.problem)
    return Row(**bare, state=answer.result.state, result=answer.result, reason=answer.result.reason)


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """How many devices are in which state, the most first; and how many said something that were not meant."""
    rows = list(rows)
    found = dict(Counter(row.state for row in rows if row.expected).most_common())
    strangers = sum(not row.expected for row in rows)
    return {**found, NOT_MEANT: strangers} if strangers else found


def exit_code(rows: Sequence[Row]) -> int:
    """0 when every device that is meant succeeded, FAILED when one ended otherwise, else UNANSWERED."""
    rows = [row for row in rows if row.expected]
    if any(row.state in FINAL and row.state != "succeeded" for row in rows):
        return FAILED
    return 0 if rows and all(row.state == "succeeded" for row in rows) else UNANSWERED
