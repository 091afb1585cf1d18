"""How far the forwarder has come with a local stream, and what it does next: arithmetic on sequences. Pure.

Everything below ``next`` is done, but for the gaps: what waited while the hub was away, and is sent in between, so that what is new
need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from edgeagent.chunk import Message, Progress

__all__ = [
    "MAX_GAPS",
    "RETENTION",
    "Claim",
    "Range",
    "begun_anew",
    "jumped",
    "passed",
    "put_back",
    "shortened",
    "trimmed",
    "waiting",
]

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
    after = replace(progress, gaps=gaps, next=max(progress.next, first), filled=progress.filled if gaps else None)
    lost = waiting(progress, after.next - 1) - waiting(after, after.next - 1)
    return _dropped(after, {RETENTION: lost})


def jumped(progress: Progress, last: int) -> Progress:
    """Leave what waits up to ``last`` for later, and go on with what comes after it; the same if there are too many gaps for that."""
    if last < progress.next or len(progress.gaps) >= MAX_GAPS:
        return progress
    gaps, begin = list(progress.gaps), progress.next
    if gaps and gaps[-1][1] == begin - 1:
        begin = gaps.pop()[0]
    filled = progress.filled if progress.gaps else progress.edge or (0, 0)
    return replace(progress, gaps=[*gaps, (begin, last)], next=last + 1, filled=filled)


def passed(progress: Progress, done: Range, sent: Sequence[Message], dropped: Mapping[str, int]) -> Progress:
    """Everything in ``done`` was sent, or dropped, or was not there any more. It begins with ``next`` or with a gap, and ends within that."""
    missing = len(done) - len(sent) - sum(dropped.values())
    if done.first == progress.next:
        after = replace(progress, next=done.last + 1)
    else:
        cut = [(done.last + 1 if start == done.first else start, end) for start, end in progress.gaps]
        gaps = [(start, end) for start, end in cut if start <= end]
        filled = tuple(sent[-1]) if sent else progress.filled
        after = replace(progress, gaps=gaps, filled=filled if gaps else None)
    edges = [edge for edge in (progress.edge, tuple(sent[-1]) if sent else None) if edge]
    counted = replace(after, forwarded=after.forwarded + len(sent), edge=max(edges, default=None))
    return _dropped(counted, {**dropped, RETENTION: dropped.get(RETENTION, 0) + missing})


def shortened(progress: Progress, last: int) -> Progress:
    """The same when the local stream ends with ``last``: what was not sent above that went with a store that was put back."""
    if progress.next <= last + 1:
        return progress
    gaps = [(start, min(end, last)) for start, end in progress.gaps if start <= last]
    return replace(progress, next=last + 1, gaps=gaps, filled=progress.filled if gaps else None)


def begun_anew(progress: Progress, log: int) -> Progress:
    """Nothing of the local stream ``log`` was sent yet, or nothing that is known."""
    return Progress(log=log, epoch=progress.epoch + 1, forwarded=progress.forwarded, dropped=progress.dropped)


class Claim(NamedTuple):
    """Of an epoch: the last message that it has in common with the local stream, and which below that were not sent, as far as it says."""

    epoch: int
    prefix: Message
    gaps: tuple[tuple[int, int], ...]


def put_back(progress: Progress, log: int, claims: Sequence[Claim]) -> Progress:
    """The local stream was put back: only what was claimed of it was sent."""
    after = begun_anew(progress, log)
    if not claims:
        return after
    best = max(claims, key=lambda claim: claim.prefix)
    end = best.prefix.sequence
    gaps = [(1, end)]
    for claim in claims:
        known = claim.prefix.sequence
        own = [(start, min(stop, known)) for start, stop in claim.gaps if start <= known]
        gaps = _both(gaps, [*own, (known + 1, end)])
    edge = tuple(best.prefix)
    return replace(after, next=end + 1, gaps=gaps, edge=edge, filled=(0, 0) if gaps else None, base=(best.epoch, *edge))


def _both(these: Sequence[tuple[int, int]], those: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is in a range of both."""
    cut = ((max(a, c), min(b, d)) for a, b in these for c, d in those)
    return sorted({(start, end) for start, end in cut if start <= end})


def _dropped(progress: Progress, more: Mapping[str, int]) -> Progress:
    added = {cause: progress.dropped.get(cause, 0) + count for cause, count in more.items() if count}
    return replace(progress, dropped={**progress.dropped, **added}) if added else progress
