from __future__ import annotations

from edgeagent.ratelimit import RateLimit, RateLimits


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


def test_what_cost_more_is_paid_off_at_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 4, clock)
    assert limit.allow()
    limit.charge(5)
    clock.now += 1.4
    assert not limit.allow(), "3 left, 5 more were charged, 2.8 came back"
    clock.now += 0.2
    assert limit.allow()


def test_a_debt_is_never_larger_than_the_burst() -> None:
    clock = Clock()
    limit = RateLimit(1.0, 3, clock)
    limit.charge(1000)
    clock.now += 3.9
    assert not limit.allow()
    clock.now += 0.2
    assert limit.allow()


def test_each_has_a_bucket_of_its_own() -> None:
    limits = RateLimits(1.0, 2, clock=Clock())
    assert [limits.allow("eve") for _ in range(3)] == [True, True, False]
    limits.charge("eve", 1000)
    assert limits.allow("olga") is False, "the common one was charged too"
    fresh = RateLimits(1.0, 2, clock=Clock())
    assert [fresh.allow("eve") for _ in range(50)].count(True) == 2
    assert fresh.allow("olga"), "what was refused is charged to nobody"


def test_made_up_names_share_the_common_one_and_are_forgotten() -> None:
    clock = Clock()
    limits = RateLimits(1.0, 2, shared=4, remembered=3, clock=clock)
    assert [limits.allow(f"eve{number}") for number in range(20)].count(True) == 8
    assert len(limits._each) == 3
    clock.now += 1.0
    assert [limits.allow(f"eve{number}") for number in range(20)].count(True) == 4
