from __future__ import annotations

from edgeagent.ratelimit import RateLimit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 3, clock)
    assert [limit.allow() for _ in range(5)] == [True, True, True, False, False]
    clock.now += 0.49
    assert not limit.allow()
    clock.now += 0.02
    assert [limit.allow(), limit.allow()] == [True, False]


def test_a_long_rest_gives_no_more_than_the_burst() -> None:
    clock = Clock()
    limit = RateLimit(1000.0, 3, clock)
    clock.now += 3600
    assert [limit.allow() for _ in range(5)] == [True, True, True, False, False]


def test_refusals_cost_nothing() -> None:
    clock = Clock()
    limit = RateLimit(1.0, 1, clock)
    assert limit.allow()
    for _ in range(50):
        clock.now += 0.01
        limit.allow()
    clock.now += 0.51
    assert limit.allow()
