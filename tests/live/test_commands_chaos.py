"""Commands while everything is killed: each ends once on each device, in one state, and that one is true.

`make bench ONLY=chaos` is the long one. A failure is drawn again by its seed, but what breaks then hits something else: look at what the
judge says, and at the logs below the test's folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.demo.layout import QUICK
from tests.support.chaos import Weather, chaos
from tests.support.servers import kill_leftovers


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    kill_leftovers(tmp_path)


@pytest.mark.parametrize("seed", [1, 7])
def test_each_command_ends_once_and_truly_whatever_is_killed(folder: Path, seed: int) -> None:
    ended = chaos(folder, Weather(seed=seed, commands=40, devices=3, pace=QUICK, calm=0.6, works=0.1))
    assert ended.wrong == []
    assert ended.record.kills and len(ended.record.sent) >= 40


def test_nothing_runs_twice_where_a_store_was_put_back_and_another_made_anew(folder: Path) -> None:
    """pi-01 goes back to an older copy of its journal in the middle, pi-02 loses it."""
    weather = Weather(seed=3, commands=40, devices=2, pace=QUICK, calm=1.5, works=0.1, sick=("pi-01", "pi-02"))
    ended = chaos(folder, weather)
    assert ended.wrong == []
    assert all(device.lines for device in ended.record.devices.values()), "else nothing was tried"
