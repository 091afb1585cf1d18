from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from edgeagent import wire
from edgeagent.cel import Evaluator
from edgeagent.errors import UsageProblem
from edgeagent.fleet import fields
from edgeagent.fleet.outcome import Collector, Outcome, Row
from edgeagent.fleet.states import State
from tests.support.cel import needs_engine

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)


def subject(device: str, token: str = "t0") -> str:
    return f"edge.from.{device}.reply.olga.{token}"


def said(state: str, **more: object) -> bytes:
    return wire.encode(wire.Answer(state=state, **more))  # type: ignore[arg-type]  # passed on as they are


def test_the_first_answer_of_a_device_counts() -> None:
    collector = Collector("t0")
    assert collector.hear(subject("pi-01"), said("no_match"), 0.1) == "pi-01"
    assert collector.hear(subject("pi-01"), said("match"), 0.2) is None
    assert collector.answers == {"pi-01": (wire.Answer(state="no_match"), 0.1)}
    assert not collector.has_match


@pytest.mark.parametrize(
    "heard", [subject("pi-01", "t1"), subject("pi-01", "t00"), "edge.from.pi-01.report", "edge.from.pi-01.reply.olga.t0.x", ""]
)
def test_what_is_not_for_us_is_not_heard(heard: str) -> None:
    collector = Collector("t0")
    assert collector.hear(heard, said("match"), 0.1) is None
    assert collector.answers == {}


@pytest.mark.parametrize("data", [b"", b"null", b'{"state":7}', b"\xff", b'{"state":"match","facts":' + b"[" * 9999])
def test_an_unreadable_answer_is_a_refusal_with_its_reason(data: bytes) -> None:
    collector = Collector("t0")
    assert collector.hear(subject("pi-01"), data, 0.1) == "pi-01"
    answer, _ = collector.answers["pi-01"]
    assert (answer.state, answer.code) == ("refused", "unreadable") and answer.reason


def test_complete_once_everyone_expected_has_answered() -> None:
    collector = Collector("t0")
    collector.hear(subject("pi-01"), said("match"), 0.1)
    assert not collector.complete  # whom to expect is not known yet
    collector.expected = frozenset({"pi-01", "pi-02"})
    assert not collector.complete
    collector.hear(subject("pi-09"), said("match"), 0.1)
    assert not collector.complete  # one more than expected replaces nobody
    collector.hear(subject("pi-02"), said("refused"), 0.1)
    assert collector.complete


def test_nobody_expected_is_complete_at_once() -> None:
    collector = Collector("t0")
    collector.expected = frozenset()
    assert collector.complete


def test_an_outcome_has_its_four_parts_also_when_they_are_empty() -> None:
    assert Outcome().as_dict() == {
        "answered": [],
        "refused": [],
        "silent": [],
        "offline": [],
        "no_match": [],
        "missing": 0,
        "elapsed_seconds": 0.0,
    }


def test_a_row_as_json() -> None:
    row = Row(id="pi-01", state=State.ONLINE, facts={"model": "Pi"}, last_seen=NOW, round_trip_ms=1.23456)
    assert row.as_dict() == {
        "id": "pi-01",
        "state": "online",
        "facts": {"model": "Pi"},
        "last_seen": "2026-11-21T12:00:00.000Z",
        "round_trip_ms": 1.23,
    }
    away = Row(id="pi-02", state=State.NEVER_SEEN, matched=None)
    assert away.as_dict() == {"id": "pi-02", "state": "never seen", "facts": None, "last_seen": None, "matched": None}
    assert json.loads(json.dumps(Outcome(answered=[row], offline=[away]).as_dict()))["offline"][0]["state"] == "never seen"


def test_the_catalogue_has_what_devices_report_besides() -> None:
    reports = [{"labels": {"site": "berlin"}, "coffee": {"cups": 3, "hot": True}}, {"coffee": {"cups": 4, "kind": "filter"}}]
    found = {field.name: field.type for field in fields.catalogue(reports)}
    assert (found["coffee.cups"], found["coffee.hot"], found["coffee.kind"]) == ("int", "bool", "string")
    assert "memory.utilization" in found and "labels.site" in found


@pytest.mark.parametrize("name", ["memory", "memory.utilization", "labels.anything", "sensors.x.y", "coffee.cups", "coffee"])
async def test_fields_that_can_be_selected(name: str) -> None:
    await fields.check(Evaluator(), "", [name], [{"coffee": {"cups": 3}}])


async def test_a_mistyped_field_gets_the_nearest_one() -> None:
    with pytest.raises(UsageProblem, match=r"cannot select 'memory\.utilisation': there is no such field\. Did you mean 'memory"):
        await fields.check(Evaluator(), "", ["memory.utilisation"], [])


@needs_engine
async def test_a_mistyped_field_in_a_filter_too() -> None:
    evaluator = Evaluator()
    try:
        with pytest.raises(UsageProblem, match=r"memory\.utilization"):
            await fields.check(evaluator, "memory.utilisation > 1", [], [])
    finally:
        await evaluator.close()


def test_nearest() -> None:
    assert fields.nearest("pi-1", ["pi-01", "till"]) == "did you mean 'pi-01'?"
    assert fields.nearest("zzz", ["pi-01"]) == ""
