"""Sequences: what is done, what waits, what was lost; to the message."""

from __future__ import annotations

import random

import pytest

from edgeagent.chunk import Message, Progress
from edgeagent.patterns.forwardprogress import (
    MAX_GAPS,
    Claim,
    Range,
    begun_anew,
    jumped,
    passed,
    put_back,
    trimmed,
    waiting,
)


def sent(*sequences: int) -> list[Message]:
    return [Message(sequence, sequence * 10) for sequence in sequences]


def test_what_is_new_is_passed_and_holes_were_lost_to_retention() -> None:
    after = passed(Progress(log=7, next=4), Range(4, 9), sent(4, 5, 8, 9), {"malformed": 1})
    assert after == Progress(log=7, next=10, forwarded=4, dropped={"malformed": 1, "retention": 1}, edge=(9, 90))


def test_a_gap_is_passed_from_its_begin_and_the_edge_stays_the_highest() -> None:
    before = Progress(next=100, gaps=[(3, 9), (20, 30)], forwarded=1, edge=(99, 990))
    after = passed(before, Range(3, 5), sent(3, 4, 5), {})
    assert (after.next, after.gaps, after.forwarded, after.edge) == (100, [(6, 9), (20, 30)], 4, (99, 990))
    assert passed(after, Range(6, 9), [], {}).gaps == [(20, 30)]
    assert passed(after, Range(6, 9), [], {}).dropped == {"retention": 4}


@pytest.mark.parametrize(
    ("first", "next_", "gaps", "lost"),
    [
        (1, 100, [(3, 9), (20, 30)], 0),
        (5, 100, [(5, 9), (20, 30)], 2),
        (10, 100, [(20, 30)], 7),
        (25, 100, [(25, 30)], 12),
        (100, 100, [], 18),
        (110, 110, [], 28),
    ],
)
def test_what_the_local_stream_lost_is_counted(first: int, next_: int, gaps: list[tuple[int, int]], lost: int) -> None:
    after = trimmed(Progress(next=100, gaps=[(3, 9), (20, 30)]), first)
    assert (after.next, after.gaps, after.dropped.get("retention", 0)) == (next_, gaps, lost)


def test_a_jump_leaves_the_backlog_for_later() -> None:
    after = jumped(Progress(next=5), 1000)
    assert (after.next, after.gaps) == (1001, [(5, 1000)])
    assert jumped(after, 1000) == after
    assert jumped(after, 2000).gaps == [(5, 2000)]


def test_there_are_not_too_many_gaps() -> None:
    progress = Progress(next=1)
    for number in range(100):
        progress = jumped(progress, progress.next + 9)
        progress = passed(progress, Range(progress.next, progress.next), sent(progress.next), {})
        assert waiting(progress, progress.next - 1) == min(number + 1, MAX_GAPS) * 10
    assert len(progress.gaps) == MAX_GAPS


def test_a_new_log_begins_anew_and_goes_on_counting() -> None:
    before = Progress(log=1, epoch=3, next=50, gaps=[(2, 4)], forwarded=40, dropped={"retention": 2}, edge=(49, 490))
    assert begun_anew(before, 9) == Progress(log=9, epoch=4, forwarded=40, dropped={"retention": 2})
    assert put_back(before, 9, []) == begun_anew(before, 9)


def test_what_one_epoch_claims_is_done_up_to_what_is_common() -> None:
    before = Progress(log=1, epoch=3, next=50, forwarded=40, edge=(49, 490))
    after = put_back(before, 1, [Claim(3, Message(20, 200), ((2, 4), (18, 30), (40, 44)))])
    assert (after.epoch, after.next, after.gaps) == (4, 21, [(2, 4), (18, 20)])
    assert (after.edge, after.base, after.forwarded) == ((20, 200), (3, 20, 200), 40)


def test_what_any_epoch_claims_is_done() -> None:
    """The newer one filled a part of a gap, and has less in common with the local stream."""
    claims = [Claim(2, Message(10, 100), ((5, 6),)), Claim(1, Message(30, 300), ((3, 8), (12, 14)))]
    after = put_back(Progress(epoch=2), 1, claims)
    assert (after.next, after.gaps, after.base) == (31, [(5, 6), (12, 14)], (1, 30, 300))


@pytest.mark.parametrize("seed", range(20))
def test_published_is_forwarded_and_waiting_and_dropped(seed: int) -> None:
    drawn, progress, first, last = random.Random(seed), Progress(), 1, 0
    delivered: list[int] = []
    for _ in range(300):
        last += drawn.randrange(40)
        first = max(first, min(last + 1, first + drawn.randrange(30)))
        progress = trimmed(progress, first)
        if drawn.random() < 0.1:
            progress = jumped(progress, last)
        ways = [Range(*gap) for gap in progress.gaps[:1]] + ([Range(progress.next, last)] if last >= progress.next else [])
        if ways:
            way = drawn.choice(ways)
            done = Range(way.first, drawn.randint(way.first, way.last))
            there = [sequence for sequence in range(done.first, done.last + 1) if drawn.random() < 0.9]
            bad = len(there) and drawn.randrange(len(there) + 1) // 4
            progress = passed(progress, done, sent(*there[bad:]), {"malformed": bad} if bad else {})
            delivered += there[bad:]
        assert last == progress.forwarded + waiting(progress, last) + sum(progress.dropped.values())
    assert len(delivered) == len(set(delivered)) == progress.forwarded
    assert progress.edge == ((max(delivered), max(delivered) * 10) if delivered else None)
