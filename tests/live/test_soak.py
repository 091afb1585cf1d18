"""A short soak run: a hub of three servers, of which one is killed, and then all are started anew in turn, under load.

``make soak`` is the long one, with 20 devices.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.cluster import cluster
from tests.soak.run import Plan
from tests.support.home import own_home
from tests.support.servers import kill_leftovers


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with own_home(tmp_path / "home"):
        yield tmp_path
    kill_leftovers(tmp_path)


@pytest.mark.timeout(400)
def test_a_killed_server_and_a_rolling_restart_lose_nothing_and_double_nothing(folder: Path) -> None:
    ended = asyncio.run(cluster(folder, Plan(seed=2, devices=2, seconds=0, kills=1, limit=math.inf, spread_within=0)))
    assert ended.wrong == []
    assert all(len(line.acknowledged) > 20 for line in ended.lines.values()) and ended.record.sent and ended.notes
