"""Columns on a terminal that is too narrow: what gives way, and what is never cut."""

from __future__ import annotations

import pytest

from edgeagent.cli.widths import LEAST, fitted


@pytest.mark.parametrize(
    ("widths", "gives", "room", "found"),
    [
        ([5, 5], [True, True], 80, [5, 5]),
        ([26, 300], [False, True], 80, [26, 54]),
        ([26, 300, 8], [False, True, True], 80, [26, 46, 8]),
        ([26, 300, 40], [False, True, True], 80, [26, 27, 27]),
        ([26, 300, 4], [False, True, True], 20, [26, LEAST, 4]),
        ([90, 8], [False, False], 80, [90, 8]),
    ],
    ids=["fits", "one-gives", "the-widest-first", "evenly", "to-the-least", "nothing-gives"],
)
def test_what_is_wide_gives_way(widths: list[int], gives: list[bool], room: int, found: list[int]) -> None:
    assert fitted(widths, gives, room) == found
