"""The bouncing of a contact left out."""

from __future__ import annotations

import random
from itertools import pairwise

from edgeagent.patterns.gpiosteady import MAX_CHANGES, Change, Steady


def test_a_level_counts_once_it_has_held() -> None:
    pin = Steady(0, 0.05, 0.0)
    pin.edge(1.0, 1)
    assert (pin.level, pin.due, pin.taken()) == (0, 1.05, [])
    pin.settle(1.04)
    assert pin.taken() == []
    pin.settle(1.05)
    assert (pin.level, pin.due, pin.ons, pin.taken()) == (1, None, 1, [Change(1.0, 1)])
    assert pin.taken() == []


def test_bouncing_is_one_change_that_began_with_the_last_edge() -> None:
    pin = Steady(0, 0.05, 0.0)
    for step in range(9):
        pin.edge(1.0 + step * 0.01, 1 - step % 2)
    pin.settle(2.0)
    assert (pin.taken(), pin.ons) == ([Change(1.08, 1)], 1)


def test_a_glitch_is_none() -> None:
    pin = Steady(1, 0.05, 0.0)
    pin.edge(1.0, 0)
    pin.edge(1.001, 1)
    pin.settle(9.0)
    assert (pin.level, pin.ons, pin.taken()) == (1, 0, [])


def test_what_held_counts_also_when_nobody_looked_in_time() -> None:
    """The event loop was busy for a second, while a meter gave five pulses."""
    pin = Steady(0, 0.05, 0.0)
    for pulse in range(5):
        pin.edge(1.0 + pulse * 0.2, 1)
        pin.edge(1.1 + pulse * 0.2, 0)
    pin.settle(3.0)
    assert pin.ons == 5 and [change.level for change in pin.taken()] == [1, 0] * 5


def test_without_a_time_each_edge_counts_at_once() -> None:
    pin = Steady(0, 0.0, 0.0)
    pin.edge(1.0, 1)
    pin.edge(1.0, 0)
    assert pin.taken() == [Change(1.0, 1), Change(1.0, 0)] and pin.due is None


def test_changes_that_nobody_takes_are_bounded_and_counted() -> None:
    pin = Steady(0, 0.0, 0.0)
    for number in range(1, 201):
        pin.edge(float(number), number % 2)
    assert (pin.ons, pin.missed, len(pin.taken())) == (100, [68, 68], MAX_CHANGES)


def test_whatever_the_wire_does_changes_take_turns_and_hold() -> None:
    for seed in range(20):
        draw, pin, now, found = random.Random(seed), Steady(0, 0.05, 0.0), 0.0, list[Change]()
        for _ in range(500):
            now += draw.expovariate(1 / 0.04)
            pin.edge(now, draw.randrange(2))
            found += pin.taken()
        pin.settle(now + 1)
        found += pin.taken()
        assert [change.level for change in found] == [(number + 1) % 2 for number in range(len(found))]
        assert all(later.time - before.time >= 0.05 for before, later in pairwise(found))
        assert pin.ons == sum(change.level for change in found)
