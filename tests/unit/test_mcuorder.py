"""Which readings of a microcontroller are taken: each once, in order, with its own ring's drops counted."""

from __future__ import annotations

import random

import msgspec
import pytest

from edgeagent.patterns.mcuorder import MAX_BOOTS, Order, Taken


def test_readings_are_taken_in_order_and_once() -> None:
    order = Order()
    assert [order.judge("a", seq, 1) for seq in (1, 2, 2, 4, 3, 4, 1)] == ["new", "new", "again", "early", "new", "new", "again"]
    assert order.last("a") == 4


def test_what_the_ring_dropped_is_not_waited_for_and_counted() -> None:
    order = Order()
    order.judge("a", 1, 1)
    order.hello("a", oldest=11, lost=9)
    assert order.judge("a", 11, 0) == "new"
    assert order.taken.lost == 9
    order.hello("a", oldest=11, lost=9)
    assert order.taken.lost == 9


def test_a_ring_that_drops_between_two_hellos_is_seen_in_the_readings() -> None:
    order = Order()
    assert order.judge("a", 1, 1) == "new"
    assert order.judge("a", 8, 7) == "early"
    assert order.judge("a", 7, 7) == "new"


def test_of_a_boot_that_nobody_met_the_oldest_has_to_be_known() -> None:
    order = Order()
    assert order.judge("a", 57, 0) == "early"
    order.hello("a", oldest=57, lost=56)
    assert order.judge("a", 57, 0) == "new"
    assert order.taken.lost == 56


def test_an_earlier_boot_goes_on_where_it_was() -> None:
    order = Order()
    order.judge("a", 1, 1)
    order.judge("b", 1, 1)
    assert order.judge("a", 1, 1) == "again"
    assert order.judge("a", 2, 1) == "new"
    assert order.judge("b", 2, 1) == "new"


def test_what_old_boots_lost_stays_counted() -> None:
    order = Order()
    for boot in range(MAX_BOOTS * 3):
        order.hello(str(boot), oldest=1, lost=2)
    assert len(order.taken.boots) == MAX_BOOTS
    assert order.taken.lost == MAX_BOOTS * 3 * 2


def test_it_goes_on_from_what_was_written_down() -> None:
    order = Order()
    order.judge("a", 1, 1)
    order.hello("a", oldest=4, lost=2)
    again = Order(msgspec.json.decode(msgspec.json.encode(order.taken), type=Taken))
    assert again.judge("a", 3, 0) == "again"
    assert again.judge("a", 4, 0) == "new"
    assert again.taken.lost == 2


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_torn_each_reading_is_taken_once_or_lost(seed: int) -> None:
    """A ring of 30 that drops the oldest, frames that are lost on the way, acknowledgements too, and an agent that forgets what it had not
    written down."""
    chance = random.Random(seed)
    order, written = Order(), Taken()
    taken: list[int] = []
    stored: list[int] = []
    ring: list[int] = []
    made = dropped = 0
    for step in range(700):
        if step < 500:
            made += 1
            ring.append(made)
            if len(ring) > 30:
                ring.pop(0)
                dropped += 1
        for seq in ring[:16]:
            if chance.random() < 0.85 and order.judge("a", seq, ring[0]) == "new":
                taken.append(seq)
        if chance.random() < 0.3:
            order.hello("a", ring[0] if ring else made + 1, dropped)
        if chance.random() < 0.2:
            written, stored = order.taken, [*stored, *taken]
            taken = []
        if chance.random() < 0.05:
            order, taken = Order(written), []
        if chance.random() < 0.6:
            ring = [seq for seq in ring if seq > written.boots.get("a", (0, 0))[0]]
    order.hello("a", ring[0] if ring else made + 1, dropped)
    assert stored == sorted(set(stored))
    assert not ring, "all of it was acknowledged in the end"
    assert made - len(stored) <= order.taken.lost == dropped
