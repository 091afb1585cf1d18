from itertools import islice

import pytest

from edgeagent.backoff import Backoff, delays


def highest(low: float, high: float) -> float:
    return high


def lowest(low: float, high: float) -> float:
    return low


def test_bounds_double_up_to_the_cap() -> None:
    assert list(islice(delays(1, 10, draw=highest), 6)) == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(("jitter", "least"), [(1.0, [0, 0, 0]), (0.25, [3, 6, 12]), (0.0, [4, 8, 16])])
def test_jitter_is_the_part_left_to_chance(jitter: float, least: list[float]) -> None:
    assert list(islice(delays(4, 100, jitter, draw=lowest), 3)) == least


def test_full_jitter_spreads_a_fleet() -> None:
    first = [next(delays(8, 8)) for _ in range(200)]
    assert all(0 <= delay <= 8 for delay in first)
    assert min(first) < 2 and max(first) > 6


@pytest.mark.parametrize(("first", "cap", "jitter"), [(0, 1, 1), (2, 1, 1), (1, 2, 1.5), (1, 2, -0.1)])
def test_numbers_that_make_no_sense_are_refused(first: float, cap: float, jitter: float) -> None:
    with pytest.raises(ValueError, match="no delays"):
        delays(first, cap, jitter)
    with pytest.raises(ValueError, match="no delays"):
        Backoff(first, cap, jitter, good_seconds=1)


def test_only_a_long_good_run_brings_the_first_delay_back() -> None:
    backoff = Backoff(1, 30, good_seconds=60, draw=highest)
    assert [backoff.next(), backoff.next(59.9), backoff.next(0)] == [1, 2, 4]
    assert [backoff.next(60), backoff.next()] == [1, 2]
