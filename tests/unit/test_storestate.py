"""What follows from what nats-servers and the disk say of the hub's store."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from edgeagent.errors import Failed
from edgeagent.hub.storestate import (
    ENOUGH_BYTES,
    FULL_BYTES,
    Restarts,
    ServerStore,
    is_full,
    is_low,
    largest_store,
    limits_sum,
    read_healthz,
    room_problem,
    silent,
)
from edgeagent.hub.streams import STREAMS
from edgeagent.leaf.storelimit import Disk

MIB = 1 << 20
GOOD, OFF = ServerStore("hub"), ServerStore("hub", "JetStream not enabled (10076)")
DEAD = ServerStore("hub", dead={"EDGE_METRICS": "no space left on device"})
ILL = ServerStore("hub", dead={"EDGE_METRICS": "input/output error"})
ROOM, NONE = Disk(100 * MIB, 50 * MIB), Disk(100 * MIB, 0)


def answer(*errors: dict[str, Any]) -> bytes:
    return json.dumps({"server": {"name": "hub"}, "data": {"status": "error", "errors": list(errors)}}).encode()


def test_what_a_server_says() -> None:
    assert read_healthz(answer()) == GOOD and GOOD.is_good
    assert read_healthz(answer({"type": "JETSTREAM", "error": "JetStream not enabled (10076)"})) == OFF
    why = "JetStream stream 'ABC > EDGE_METRICS' write error: write /s/1.blk: no space left on device"
    found = read_healthz(answer({"type": "STREAM", "stream": "EDGE_METRICS", "error": why}))
    assert found.dead == {"EDGE_METRICS": "write /s/1.blk: no space left on device"} and "EDGE_METRICS: write" in found.why
    slow = {"type": "STREAM", "error": "JetStream stream 'ABC > EDGE_DATA' is not current: node skew detected"}
    assert read_healthz(answer(slow)).is_good, "it catches up"


@pytest.mark.parametrize("data", [b"", b"[]", b'{"server": 1}', b'{"server": {"name": "a"}, "data": {"errors": [1]}}', b"\xff"])
def test_what_makes_no_sense(data: bytes) -> None:
    with pytest.raises(Failed, match="makes no sense"):
        read_healthz(data)


def test_a_stream_is_silent_when_too_few_servers_can_write_it() -> None:
    every = {stream.name for stream in STREAMS}
    assert silent([GOOD], 1) == set() and silent([DEAD], 1) == {"EDGE_METRICS"} and silent([OFF], 1) == every
    assert silent([OFF, GOOD, GOOD], 3) == set(), "the other two go on"
    assert silent([OFF, DEAD, GOOD], 3) == {"EDGE_METRICS"} and silent([OFF, OFF, GOOD], 3) == every
    assert silent([OFF], 3) == set(), "nothing is known of the others"


def test_how_full_a_disk_is() -> None:
    assert is_full(Disk(1 << 40, FULL_BYTES - 1)) and not is_full(Disk(1 << 40, FULL_BYTES))
    assert is_low(Disk(1 << 40, (1 << 30) - 1)) and not is_low(Disk(1 << 40, 1 << 30))
    assert is_low(Disk(64 * MIB, 2 * ENOUGH_BYTES - 1)), "a small one is told while something can be done"


def test_the_limits_and_the_disk() -> None:
    store = 1000 * MIB
    assert limits_sum(store) == pytest.approx(0.8 * store, rel=0.01) and limits_sum(store) <= 0.8 * store
    assert room_problem(limits_sum(store), Disk(2000 * MIB, 900 * MIB)) is None
    kind, why = room_problem(limits_sum(store), Disk(2000 * MIB, 700 * MIB)) or ("", "")
    assert kind == "now" and "others have the rest" in why
    assert room_problem(limits_sum(store), Disk(2000 * MIB, 700 * MIB), 200 * MIB) is None, "what the store takes is its own"
    kind, why = room_problem(limits_sum(store), Disk(990 * MIB, 990 * MIB)) or ("", "")
    assert kind == "never" and "80%" in why
    disk = Disk(990 * MIB, 990 * MIB)
    assert room_problem(limits_sum(largest_store(disk)), disk) is None
    assert room_problem(limits_sum(largest_store(disk) + 2 * MIB), disk) is not None


def test_a_restart_waits_for_space_and_comes_once() -> None:
    restarts = Restarts((5, 60, 600), spacing=20)
    assert restarts.step(GOOD, ROOM, 0) == ""
    assert restarts.step(DEAD, NONE, 1) == "full"
    assert restarts.step(OFF, Disk(100 * MIB, ENOUGH_BYTES - 1), 2) == "full"
    assert restarts.step(OFF, ROOM, 3) == "restart"
    assert restarts.step(OFF, ROOM, 4) == "wait", "it takes a moment"
    assert restarts.step(GOOD, ROOM, 5) == ""


def test_a_disk_that_fills_again_and_again_brings_a_restart_each_time_but_not_at_once() -> None:
    restarts = Restarts((5, 60, 600), spacing=20)
    done = [now for now in range(200) if restarts.step(DEAD, NONE if now % 3 else ROOM, now) == "restart"]
    assert len(done) in range(8, 11) and all(later - first >= 20 for first, later in pairwise(done))


def test_what_is_no_full_disk_is_tried_less_and_less_often() -> None:
    restarts = Restarts((5, 60, 600), spacing=20)
    assert [now for now in range(1000) if restarts.step(ILL, ROOM, now) == "restart"] == [0, 60, 660]


def test_one_server_at_a_time() -> None:
    restarts = Restarts((5, 60, 600), spacing=20)
    assert restarts.step(OFF, NONE, 0) == "full"
    assert restarts.step(OFF, ROOM, 1, free_to=False) == "wait" and restarts.step(OFF, ROOM, 2) == "restart"
