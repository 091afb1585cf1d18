"""Alerts as events: told once, also over restarts and when the hub has never heard of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.patterns import alerts
from edgeagent.patterns.alerts import FILE, Alerts
from edgeagent.patterns.alertwatch import MAX_SERIES
from edgeagent.sample import Sample
from tests.support.servers import until

RULES = {"hot": "hw.temperature > 80 clear < 75 severity error"}


class Told:
    """Takes events as :class:`edgeagent.patterns.events.Events` does; ``send`` says that the hub has them."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str, dict[str, Any]]] = []
        self._waiting: list[Callable[[], None]] = []

    def tell(self, severity: str, kind: str, text: str, *, on_sent: Callable[[], None] = lambda: None, **data: Any) -> None:
        self.events.append((severity, kind, text, data))
        self._waiting.append(on_sent)

    def send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sent in waiting:
            sent()

    def lose(self) -> None:
        """As events that had no room."""
        self._waiting.clear()

    @property
    def states(self) -> list[str]:
        return [kind.rpartition(".")[2] for _, kind, _, _ in self.events]


class Device:
    """The alerts of one device, which may be started anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self, rules: dict[str, str] = RULES) -> None:
        self.told = Told()
        self.alerts = Alerts(self.folder, rules, self.told.tell)

    def restart(self, rules: dict[str, str] = RULES) -> list[str]:
        """What is told then."""
        self.alerts.save()
        self.start(rules)
        return self.told.states

    def take(self, celsius: float) -> list[str]:
        """What is told of it."""
        before = len(self.told.events)
        self.alerts.take("agent", [Sample("hw.temperature", celsius, {"hw.id": "cpu"})])
        return self.told.states[before:]


@pytest.fixture
async def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


async def test_what_is_told(device: Device) -> None:
    assert device.take(81.25) == ["raised"] and device.alerts.severities == {"hot": "error"}
    assert device.take(74) == ["cleared"] and device.alerts.severities == {}
    (_, _, text, data), (severity, kind, cleared, _) = device.told.events
    assert (severity, kind) == ("error", "alert.hot.cleared")
    assert text == 'hot: hw.temperature{hw.id="cpu"} is 81.25 (> 80)'
    assert cleared == 'hot: cleared after 0s, hw.temperature{hw.id="cpu"} is 74'
    assert data == {
        "alert": 'hot{hw.id="cpu"}',
        "metric": "hw.temperature",
        "value": 81.25,
        "rule": RULES["hot"],
        "source": "agent",
        "attributes": {"hw.id": "cpu"},
    }


async def test_what_the_status_names(device: Device) -> None:
    for number in range(alerts.MAX_SHOWN + 1):
        device.alerts.take("till", [Sample("hw.temperature", 90 + number, {"hw.id": str(number)})])
    found = device.alerts.standing
    assert len(found) == alerts.MAX_SHOWN and found[0].since > 0
    assert (found[0].alert, found[0].severity, found[0].value, found[0].condition) == (
        'hot{hw.id="0"} of till',
        "error",
        90,
        "> 80",
    )


async def test_what_tells_series_apart(device: Device) -> None:
    for source, attributes in (("agent", {}), ("till", {}), ("till", {"a": "b", "c": "d"})):
        device.alerts.take(source, [Sample("hw.temperature", 99, attributes)])
    assert [data["alert"] for _, _, _, data in device.told.events] == ["hot", "hot of till", 'hot{a="b", c="d"} of till']


async def test_what_the_hub_has_is_not_told_again_after_a_restart(device: Device) -> None:
    device.take(81)
    device.told.send()
    assert device.restart() == [] and device.alerts.severities == {"hot": "error"}
    assert device.take(82) == [] and device.take(74) == ["cleared"]
    device.told.send()
    assert device.restart() == [] and device.take(81) == ["raised"]


async def test_what_the_hub_has_not_is_told_again(device: Device) -> None:
    device.take(81)
    assert device.restart() == ["raised"] and device.take(74) == ["cleared"]
    assert device.restart() == ["cleared"], "a person may have heard of its rising"
    device.told.send()
    assert device.restart() == []


async def test_what_had_no_room_is_told_again_when_there_is_but_not_for_ever(device: Device) -> None:
    device.take(81)
    device.told.lose()
    device.alerts.tell_again()
    assert device.told.states == ["raised"] * 2
    device.told.send()
    device.alerts.tell_again()
    assert device.take(74) == ["cleared"]
    for _ in range(10):
        device.alerts.tell_again()
    assert device.told.states == ["raised"] * 2 + ["cleared"] * (1 + alerts.AGAIN_TIMES)


async def test_an_outage_of_any_length_takes_no_more_than_so_much_room(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "MAX_CLEARED", 3)
    for number in range(5):
        for celsius in (81, 74):
            device.alerts.take("agent", [Sample("hw.temperature", celsius, {"hw.id": str(number)})])
    device.told.lose()
    device.alerts.tell_again()
    assert [data["alert"] for _, _, _, data in device.told.events[10:]] == [f'hot{{hw.id="{number}"}}' for number in (2, 3, 4)]


async def test_a_rule_with_too_many_series_is_told_once(device: Device) -> None:
    for number in range(MAX_SERIES + 5):
        device.alerts.take("till", [Sample("hw.temperature", 99, {"hw.id": str(number)})])
    (found,) = [event for event in device.told.events if event[1] == "alerts.full"]
    assert found[0] == "warning" and found[3] == {"rule": "hot"}


async def test_a_late_acknowledgement_of_its_rising_does_not_hide_its_end(device: Device) -> None:
    device.take(81)
    rising, device.told._waiting = device.told._waiting, []
    device.take(74)
    rising[0]()
    assert device.restart() == ["cleared"]


async def test_a_rule_that_went_while_the_agent_was_down_clears_what_it_raised(device: Device) -> None:
    device.take(81)
    device.told.send()
    assert device.restart({}) == ["cleared"] and device.told.events[0][2].endswith("its rule is gone")


async def test_a_damaged_file_is_none(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    device.take(81)
    device.alerts.save()
    for text in ("{", '{"alerts":[{"standing":{"alert":"x","rule":"no rule","source":"a","metric":"a"}}]}'):
        (device.folder / FILE).write_text(text)
        device.start()
        assert device.told.states == [] and "cannot use" in caplog.text
    assert device.take(81) == ["raised"]


async def test_changes_are_kept_while_it_runs_and_at_its_end(device: Device) -> None:
    keeping = asyncio.create_task(device.alerts.keep())
    device.take(81)
    await until(lambda: (device.folder / FILE).exists(), "it is kept")
    device.told.send()
    keeping.cancel()
    await asyncio.wait([keeping])
    device.start()
    assert device.told.states == []
