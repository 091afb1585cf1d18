"""A short storm over what devices measure; ``make bench ONLY=metricchaos`` is the long one. And the judge of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.demo.layout import QUICK
from tests.support.metricchaos import Weather, metric_chaos
from tests.support.numbered import Line, problems


@pytest.mark.timeout(400)
def test_every_number_is_there_once_and_in_order(tmp_path: Path) -> None:
    ended = metric_chaos(tmp_path, Weather(seed=11, devices=2, seconds=8, pace=QUICK))
    assert ended.wrong == []
    assert ended.breaks.total() >= 6 and all(len(line.acknowledged) > 20 for line in ended.lines.values())


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([0, 1, 3], []),
        ([0, 1, 2, 3], []),
        ([0, 3], ["1 missing, the first [1]"]),
        ([0, 1, 1, 3], ["1 twice, the first [1]"]),
        ([0, 3, 1], ["1 out of order, the first [(3, 1)]"]),
        ([0, 1, 3, 4], ["1 never published, the first [4]"]),
    ],
    ids=["whole", "unacknowledged", "missing", "twice", "disordered", "invented"],
)
def test_the_judge_sees_what_is_wrong(found: list[int], words: list[str]) -> None:
    assert problems(Line(4, {0, 1, 3}), found) == words
