"""When links that are taken away are no coincidence."""

from __future__ import annotations

from edgeagent.hub.evictions import AGAIN_SECONDS, REMEMBERED, WITHIN_SECONDS, Evictions, is_eviction


def test_the_third_in_a_short_time_is_told_and_then_not_for_a_while() -> None:
    counted = Evictions()
    assert [counted.heard("pi-1", now) for now in (0, 10, 20, 30)] == [False, False, True, False]
    assert not counted.heard("pi-2", 30)
    late = 20 + AGAIN_SECONDS
    assert [counted.heard("pi-1", late + now) for now in (0, 10, 20)] == [False, False, True]


def test_now_and_then_is_ordinary() -> None:
    counted = Evictions()
    assert not any(counted.heard("pi-1", number * WITHIN_SECONDS) for number in range(20))


def test_only_so_many_devices_are_remembered() -> None:
    counted = Evictions()
    for number in range(REMEMBERED + 10):
        counted.heard(f"pi-{number}", number)
    assert len(counted._heard) == REMEMBERED


def test_the_servers_words() -> None:
    assert is_eviction("Duplicate Remote LeafNode Connection")
    assert not is_eviction("Stale Connection")
