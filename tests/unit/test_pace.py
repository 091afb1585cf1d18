"""Bytes over time, and patience; the clock is the test's."""

from __future__ import annotations

from edgeagent.patterns.pace import Due, Pace, Rate


def test_bytes_are_spread() -> None:
    pace = Pace(100)
    assert pace.pause(5.0) == 0
    pace.spend(50, 5.0)
    assert pace.pause(5.0) == 0.5
    pace.spend(50, 5.25)
    assert pace.pause(5.5) == 0.5 and pace.pause(7.0) == 0
    pace.spend(100, 100.0)  # what was not used is not saved up
    assert pace.pause(100.0) == 1.0


def test_no_bound_is_no_pause() -> None:
    pace = Pace()
    pace.spend(10**9, 1.0)
    assert pace.pause(1.0) == 0


def test_what_waits_is_due_from_when_it_was_first_seen() -> None:
    due = Due()
    assert [due.look(0, 1.0), due.look(3, 2.0), due.look(4, 3.5), due.look(0, 4.0), due.look(1, 9.0)] == [0, 0, 1.5, 0, 0]
    due.emptied()
    assert due.look(1, 20.0) == 0


def test_what_is_not_to_wait_is_due_whenever_it_comes() -> None:
    due = Due()
    due.hasten()
    assert [due.look(0, 1.0), due.look(1, 2.0)] == [0, float("inf")]
    due.emptied()
    assert due.look(1, 3.0) == 0


def test_the_rate_is_of_the_last_seconds() -> None:
    rate = Rate(10)
    rate.add(100, 0.0)
    rate.add(50, 8.0)
    assert (rate.value(9.0), rate.value(15.0), rate.value(30.0)) == (15, 5, 0)
