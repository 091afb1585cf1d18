"""When a server of a cluster has all of a stream, by the words of the one that leads it. That `hub up` waits: tests/live/test_cluster.py."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.assembly.hubcurrent import has_all


def told(leader: str, **current: bool) -> dict[str, Any]:
    copies = [{"name": name.replace("_", "-"), "current": is_current, "active": 1} for name, is_current in current.items()]
    return {"cluster": {"leader": leader, "replicas": copies}}


@pytest.mark.parametrize(
    ("info", "has"),
    [
        (told("b-1", b_2=False, b_3=False), True),
        (told("b-2", b_1=True, b_3=False), True),
        (told("b-2", b_1=False, b_3=True), False),
        (told("b-2", b_3=True), False),
        (told("", b_1=False, b_2=True), False),
        ({"error": {"err_code": 10008}}, False),
        ({"error": {"err_code": 10059}}, True),
        ({}, False),
    ],
    ids=[
        "it leads",
        "it follows",
        "it lags behind",
        "it has no copy",
        "nobody leads",
        "an error",
        "it was not made yet",
        "no answer",
    ],
)
def test_whether_it_has_all(info: dict[str, Any], has: bool) -> None:
    assert has_all(info, "b-1") is has
