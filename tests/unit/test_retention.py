"""What may go from the hub's store: what is old, and then what those have who have most."""

from __future__ import annotations

import pytest

from edgeagent import actions
from edgeagent.builtin import actions as builtin_actions
from edgeagent.hub.retention import KEEP_ENTRIES_SECONDS, KEEP_RESULTS_SECONDS, Fill, Listed, Shares, entries_below, level

assert builtin_actions.__path__  # has them registered


def test_what_goes_is_older_than_any_command_that_may_still_run() -> None:
    longest = max(action.max_expiry_seconds + action.timeout_seconds for action in actions.every())
    assert 4 * longest < KEEP_RESULTS_SECONDS < KEEP_ENTRIES_SECONDS


@pytest.mark.parametrize(
    ("sizes", "room", "found"),
    [
        ([], 10, float("inf")),
        ([3, 4], 10, float("inf")),
        ([3, 100], 10, 7),
        ([1, 100, 100], 11, 5),
        ([100, 100], 10, 5),
        ([1, 2, 3], 0, 0),
    ],
    ids=["nobody", "all-fit", "one-large", "two-large", "even", "no-room"],
)
def test_only_the_large_ones_are_cut(sizes: list[int], room: int, found: float) -> None:
    assert level(sizes, room) == found


def shares(**devices: list[int]) -> Shares:
    """Sizes of each device's outcomes; their sequences are 1, 2 ... over all, the first of each, then the second of each."""
    most, made, sequence = max(map(len, devices.values())), Shares(), 0
    for number in range(most):
        for device, sizes in devices.items():
            if number < len(sizes):
                sequence += 1
                made.add(Listed(f"edge.from.{device}.result.X{number}", sequence, sizes[number]))
    return made


def test_who_has_most_loses_the_oldest_and_never_all() -> None:
    made = shares(a=[10], b=[50, 50, 50], c=[1, 1])
    assert made.bytes == 162 and made.cut(162) == {}
    assert made.cut(112) == {"b": 4}
    assert made.cut(0) == {"b": 6, "c": 5}


def test_what_hides_its_size_is_counted() -> None:
    counted = shares(a=[10], b=[0] * 9).by_count()
    assert counted.bytes == 10 and counted.cut(5) == {"b": 7}


@pytest.mark.parametrize(
    ("numbers", "floor", "found"),
    [
        ({1: 10, 2: 11, 3: 12}, 3, 12),
        ({1: 10, 2: 11}, 9, 50),
        ({7: 10}, 7, 0),
        ({}, 7, 0),
        ({1: 10, 9: 11, 2: 12}, 5, 11),
    ],
    ids=["to-the-floor", "all", "only-the-head", "none", "out-of-order"],
)
def test_entries_go_up_to_the_floor(numbers: dict[int, int], floor: int, found: int) -> None:
    assert entries_below(numbers, floor, 50) == found


def test_how_full_a_stream_is() -> None:
    assert Fill(5, 10, 1, 2).part == 0.5 and Fill(5, -1, 1, 2).part == 0
