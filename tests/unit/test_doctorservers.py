"""What is said of the hub's servers, of their clocks and links, and of what they keep together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent.assembly import doctorservers
from edgeagent.assembly.findings import Finding
from edgeagent.hub import exporterfamilies, serverstates
from edgeagent.hub.serverstates import ServerState
from edgeagent.hub.streams import STREAMS

NEWEST = ".".join(map(str, doctorservers.MINIMUM))


def server(name: str = "hub-1", **changes: Any) -> ServerState:
    return ServerState(name, NEWEST, 0, 0.0, 0, 0, 0, 0, leader="hub-1")._replace(**changes)


def levels(findings: Any) -> list[str]:
    found: list[Finding] = list(findings)
    assert all(finding.remedy for finding in found if not finding.good)
    return [finding.level for finding in found]


@pytest.mark.parametrize(("there", "level"), [(3, "good"), (2, "warn"), (1, "wrong")])
def test_servers_that_are_missing(there: int, level: str) -> None:
    found = [server(f"hub-{number}") for number in range(there)]
    assert levels(doctorservers.members(found, 3)) == [level]


def test_servers_of_which_none_leads() -> None:
    assert levels(doctorservers.members([server(leader="")] * 3, 3)) == ["wrong"]
    assert levels(doctorservers.members([server(leader=None)], 1)) == []


@pytest.mark.parametrize(
    ("version", "said"), [(NEWEST, []), ("2.9.25", ["wrong"]), ("99.0.0-dev", []), ("", ["wrong"]), ("odd", ["wrong"])]
)
def test_a_server_that_is_older_than_what_was_tested(version: str, said: list[str]) -> None:
    assert levels(doctorservers.versions([server(version=version)])) == said


def test_servers_that_differ() -> None:
    assert levels(doctorservers.versions([server(), server("hub-2", version="99.0.0")])) == ["warn"]


@pytest.mark.parametrize(
    ("leafs", "said"),
    [
        ((5000,), ["good"]),
        ((5001,), ["warn"]),
        ((1000, 1100, 900), ["good"]),
        ((3000, 0, 0), ["warn"]),
        ((90, 0, 0), ["good"]),  # few enough that it does not matter
        ((5001, 5001, 5001), ["warn"] * 3),
        ((0, 0, 0), ["good"]),
    ],
)
def test_devices_at_each_server(leafs: tuple[int, ...], said: list[str]) -> None:
    found = [server(f"hub-{number}", leafs=count) for number, count in enumerate(leafs)]
    assert levels(doctorservers.leafs(found)) == said


@pytest.mark.parametrize(
    ("ahead", "synchronized", "said"),
    [
        (0.0, True, ["good"]),
        (0.0, None, ["good"]),
        (0.0, False, ["warn"]),
        (-5.0, True, ["warn"]),
        (61.0, True, ["wrong"]),
        (-61.0, False, ["wrong", "warn"]),
    ],
)
def test_clocks(ahead: float, synchronized: bool | None, said: list[str]) -> None:
    assert levels(doctorservers.clock([server(), server("hub-2", ahead_seconds=ahead)], synchronized)) == said


def stream(name: str, **cluster: Any) -> dict[str, Any]:
    return {"config": {"name": name}, **({"cluster": {"name": "hub", **cluster}} if cluster else {})}


def judged(changed: dict[str, Any] | None, **more: Any) -> list[tuple[str, str]]:
    """What is said when the first stream is so; None: it is not there."""
    _, *others = (each.name for each in STREAMS)
    listed = [stream(name, leader="hub-1", replicas=[{"name": "hub-2", "current": True}]) for name in others]
    found = doctorservers.streams({"streams": [*listed, *([changed] if changed else [])], **more})
    return [(finding.level, finding.text) for finding in found]


def test_streams() -> None:
    name = STREAMS[0].name
    assert judged(stream(name, leader="hub-1"))[0][0] == "good"
    assert judged(stream(name))[0][0] == "good", "one server alone needs no leader"
    assert judged(None)[0] == ("wrong", f"{name}: not there")
    for leaderless in (judged(stream(name, leader="")), judged(None, missing=[name])):
        ((level, text),) = leaderless
        assert level == "wrong" and "1 have no leader" in text and name in text
    for copy in ({"current": False}, {"current": True, "offline": True}, {"current": True, "lag": 10_000}):
        ((level, text),) = judged(stream(name, leader="hub-1", replicas=[{"name": "hub-2", **copy}]))
        assert level == "warn" and f"copies of {name} are behind" in text
    late = [stream(each.name, leader="hub-1", replicas=[{"name": "hub-2", "current": False}]) for each in STREAMS]
    assert [each.text for each in doctorservers.streams({"streams": late})] == ["copies of all streams are behind"]
    (error,) = doctorservers.streams({"error": {"description": "JetStream system temporarily unavailable"}})
    assert error.level == "wrong" and "temporarily unavailable" in error.text and error.remedy


def test_what_a_server_says_of_itself() -> None:
    jetstream = {"stats": {"storage": 7}, "config": {"max_storage": 9}, "meta": {"leader": "hub-2"}}
    varz = {
        "server_name": "hub-1",
        "version": "2.15.1",
        "leafnodes": 3,
        "now": "1970-01-01T00:01:40.5Z",
        "jetstream": jetstream,
        "slow_consumers": 5,
        "slow_consumer_stats": {"clients": 2, "routes": 2, "gateways": 1},
    }
    data = json.dumps({"server": {}, "data": varz}).encode()
    read = serverstates.read(data, 100.0, 101.0)
    assert read == ServerState("hub-1", "2.15.1", 3, 0.0, 5, 3, 7, 9, "hub-2")
    assert serverstates.read(data, 90.0, 91.0).ahead_seconds == 9.5
    assert serverstates.read(data, 110.0, 111.0).ahead_seconds == -9.5
    assert serverstates.read(b'{"data":{"leafnodes":"x","now":"never"}}', 0, 1) == ServerState("?", "", 0, 0.0, 0, 0, 0, 0, None)


def test_what_prometheus_is_told() -> None:
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in exporterfamilies.health(False, [server(leafs=3, slow=2)], {"hub.auth_errors": 4})
        for sample in family.samples
    }
    assert found["edgeagent_hub_healthy",] == 0
    assert found["edgeagent_hub_server_leafs", "hub-1"] == 3 and found["edgeagent_hub_slow_consumers_total", "hub-1"] == 2
    assert found["edgeagent_hub_alarms_total", "hub.auth_errors"] == 4
