"""How far the forwarder has come with a local stream, and what it does next: arithmetic on sequences. Pure.

Everything below ``next`` is done, but for the gaps: what waited while the hub was away, and is sent in between, so that what is new
need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from edgeagent.chunk import Message, Progress

__all__ = ["MAX_GAPS", "RETENTION", "Range", "begun_anew", "jumped", "passed", "put_back", "trimmed", "waiting"]

#: Every chunk names them all. With so many, what is new waits its turn.
MAX_GAPS = 16
#: Why messages were dropped that the local stream no longer had when their turn came.
RETENTION = "retention"


class Range(NamedTuple):
    """Sequences of the local stream, both ends included."""

    first: int
    last: int

    def __len__(self) -> int:
        return max(0, self.last - self.first + 1)


def waiting(progress: Progress, last: int) -> int:
    """How many messages are neither sent nor dropped. last: the newest sequence of the local stream."""
    return len(Range(progress.next, last)) + sum(len(Range(*gap)) for gap in progress.gaps)


def trimmed(progress: Progress, first: int) -> Progress:
    """The same once the local stream begins with ``first``: what is below it and was not sent never will be."""
    gaps = [(max(start, first), end) for start, end in progress.gaps if end >= first]
    after = replace(progress, gaps=gaps, next=max(progress.next, first))
    lost = waiting(progress, after.next - 1) - waiting(after, after.next - 1)
    return _dropped(after, {RETENTION: lost})


def jumped(progress: Progress, last: int) -> Progress:
    """Leave what waits up to ``last`` for later, and go on with what comes after it; the same if there are too many gaps for that."""
    if last < progress.next or len(progress.gaps) >= MAX_GAPS:
        return progress
    gaps, begin = list(progress.gaps), progress.next
    if gaps and gaps[-1][1] == begin - 1:
        begin = gaps.pop()[0]
    return replace(progress, gaps=[*gaps, (begin, last)], next=last + 1)


def passed(progress: Progress, done: Range, sent: Sequence[Message], dropped: Mapping[str, int]) -> Progress:
    """Everything in ``done`` was sent, or dropped, or was not there any more. It begins with ``next`` or with a gap, and ends within that."""
    missing = len(done) - len(sent) - sum(dropped.values())
    if done.first == progress.next:
        after = replace(progress, next=done.last + 1)
    else:
        cut = [(done.last + 1 if start == done.first else start, end) for start, end in progress.gaps]
        after = replace(progress, gaps=[(start, end) for start, end in cut if start <= end])
    edges = [edge for edge in (progress.edge, tuple(sent[-1]) if sent else None) if edge]
    counted = replace(after, forwarded=after.forwarded + len(sent), edge=max(edges, default=None))
    return _dropped(counted, {**dropped, RETENTION: dropped.get(RETENTION, 0) + missing})


def begun_anew(progress: Progress, log: int) -> Progress:
    """Nothing of the local stream ``log`` was sent yet, or nothing that is known."""
    return Progress(log=log, epoch=progress.epoch + 1, forwarded=progress.forwarded, dropped=progress.dropped)


def put_back(progress: Progress, log: int, prefix: Message | None, gaps: Sequence[tuple[int, int]]) -> Progress:
    """The local stream is what the hub knows only up to ``prefix`` (None: nowhere); gaps: what was not sent then, as far as is known."""
    after = begun_anew(progress, log)
    if prefix is None:
        return after
    kept = [(start, min(end, prefix.sequence)) for start, end in gaps if start <= prefix.sequence]
    return replace(after, next=prefix.sequence + 1, gaps=kept, edge=tuple(prefix))


def _dropped(progress: Progress, more: Mapping[str, int]) -> Progress:
    added = {cause: progress.dropped.get(cause, 0) + count for cause, count in more.items() if count}
    return replace(progress, dropped={**progress.dropped, **added}) if added else progress
