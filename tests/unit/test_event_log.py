"""Events as people read them: each once, at the time when it happened, whatever a device says."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from edgeagent import wire
from edgeagent.cli.events import Severity
from edgeagent.direct import Stored
from edgeagent.errors import UsageProblem
from edgeagent.fleet import events
from edgeagent.fleet.events import Once, happened, severities_from
from edgeagent.fleet.leftout import LeftOut
from edgeagent.hub.streams import SEVERITIES
from edgeagent.times import rfc3339

NOW = datetime(2026, 11, 21, 10, tzinfo=timezone.utc)


def event(device: str = "pi-01", **more: Any) -> events.Happened:
    payload = wire.encode(wire.Event(kind="alert.hot", text="it is hot", **more))
    found = happened(Stored(f"edge.from.{device}.event.warning", 3, NOW, payload, False), LeftOut())
    assert found is not None
    return found


def test_all_that_was_said() -> None:
    found = event(id="x", data={"celsius": 81}, time="2026-11-21T09:00:00.000Z")
    assert found.as_dict() == {
        "time": "2026-11-21T09:00:00.000Z",
        "stored": "2026-11-21T10:00:00.000Z",
        "device": "pi-01",
        "severity": "warning",
        "kind": "alert.hot",
        "text": "it is hot",
        "data": {"celsius": 81},
        "id": "x",
    }


@pytest.mark.parametrize("said", ["", "yesterday", rfc3339(NOW + timedelta(days=1)), "9999-99-99T00:00:00Z"])
def test_a_time_that_cannot_be_is_when_the_hub_got_it(said: str) -> None:
    assert event(time=said).time == NOW


def test_what_is_no_event_is_counted() -> None:
    left = LeftOut()
    assert happened(Stored("edge.from.pi-01.event.info", 3, NOW, b"\xff\x1b", False), left) is None
    assert left.unreadable["pi-01"][0] == 1


def test_what_was_sent_again_is_told_once_and_nobody_suppresses_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    once = Once()
    asked = [event(id="1"), event(id="1"), event("pi-02", id="1"), event(), event(), event(id="2"), event(id="1")]
    assert [once.is_new(each) for each in asked] == [True, False, True, True, True, True, False]
    monkeypatch.setattr(events, "REMEMBERED", 2)
    small = Once()
    assert [small.is_new(event(id=name)) for name in "1231"] == [True, True, True, True]


def test_severities() -> None:
    assert severities_from("debug") == SEVERITIES and severities_from("error") == ("error", "critical")
    assert tuple(each.value for each in Severity) == SEVERITIES
    with pytest.raises(UsageProblem, match="There are debug, info"):
        severities_from("loud")
