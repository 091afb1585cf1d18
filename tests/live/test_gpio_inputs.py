"""Pins as metrics and events, with gpiozero's own mock in place of the board: its edges come from another thread, as lgpio's do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import gpiozero
import pytest
import pytest_asyncio
from gpiozero.pins.mock import MockFactory

from edgeagent import settings, status
from edgeagent.assembly.device import Agent
from edgeagent.builtin import actions as builtin_actions
from edgeagent.errors import EdgeError
from edgeagent.link import connect
from edgeagent.localsubjects import local_metric
from edgeagent.machine import Machine
from edgeagent.natsserver import ports
from edgeagent.patterns import gpio, gpioinput, gpiowatch
from edgeagent.patterns.gpio import Pins
from edgeagent.patterns.gpiowatch import GpioWatch
from edgeagent.runtime import Tasks
from edgeagent.sample import Sample, parse
from tests.support.acting import Board
from tests.support.servers import kill_leftovers, until

PINS = """
[commands]
allow = ["gpio.*"]
[gpio.pins.lamp]
pin = 17
direction = "output"
[gpio.pins.door]
pin = 22
direction = "input"
pull = "up"
active_high = false
debounce_seconds = 0.01
event = "both"
[gpio.pins.meter]
pin = 23
direction = "input"
debounce_seconds = 0
metric = false
count = true
[gpio.pins.bell]
pin = 24
direction = "input"
debounce_seconds = 0
event = "rising"
"""
DOOR, METER, BELL = 22, 23, 24


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockFactory]:
    assert builtin_actions.__path__
    made = MockFactory()
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    monkeypatch.setattr(gpiozero.Device, "pin_factory", made)
    monkeypatch.setattr(gpio, "_taken", {})
    yield made
    made.reset()


class Watched:
    """The pins of :data:`PINS`, watched. samples: as they came. told: the events, as (kind, data)."""

    def __init__(self, folder: Path, factory: MockFactory, text: str = PINS) -> None:
        self.board, self._factory = Board(folder, text), factory
        self.samples: list[Sample] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.problems: list[EdgeError] = []
        self.tasks = Tasks()
        found = self.board.settings
        self.watch = GpioWatch(
            Pins(found, self.board.machine),
            found.gpio.pins,
            interval_seconds=3600,
            take=lambda source, samples: self.samples.extend(samples),
            tell=lambda severity, kind, text, **data: self.told.append((kind, data)),
            on_problems=lambda problems: setattr(self, "problems", problems),
        )

    def values(self, pin: str, metric: str = "gpio.state") -> list[float]:
        return [each.value for each in self.samples if each.metric == metric and each.attributes == {"pin": pin}]

    def events(self, pin: str) -> list[int]:
        return [data["value"] for kind, data in self.told if kind == "gpio.changed" and data["pin"] == pin]

    def told_of(self, pin: str) -> int:
        """Its changes that events were about, one by one or as a number."""
        return sum(1 + data.get("left_out", 0) for kind, data in self.told if kind == "gpio.changed" and data["pin"] == pin)

    async def drive(self, number: int, *levels: bool) -> None:
        """From a thread of its own, as quickly as can be."""
        await asyncio.to_thread(self._drive, number, levels)

    def _drive(self, number: int, levels: tuple[bool, ...]) -> None:
        pin = self._factory.pin(number)
        for level in levels:
            pin.drive_high() if level else pin.drive_low()

    def sample_all(self) -> None:
        """Have every pin sampled now, not in an hour."""
        self.watch.set_interval(self.watch._interval_seconds + 1)


@pytest_asyncio.fixture
async def start(tmp_path: Path, factory: MockFactory) -> AsyncIterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def begin(text: str = PINS) -> Watched:
        made.append(Watched(tmp_path, factory, text))
        made[-1].watch.start(made[-1].tasks)
        return made[-1]

    yield begin
    for each in made:
        await each.tasks.close()


async def listening(watched: Watched, factory: MockFactory) -> None:
    await until(lambda: all(factory.pin(each).when_changed for each in (DOOR, METER, BELL)), "all are listened to")


async def test_an_inputs_changes_are_samples_and_events(start: Callable[..., Watched], factory: MockFactory) -> None:
    pins = start()
    await listening(pins, factory)
    await until(lambda: pins.values("door") != [], "what it is at first")
    assert set(pins.values("door")) == {0} and pins.events("door") == []
    await pins.drive(DOOR, False)
    await until(lambda: pins.events("door") == [1], "it went on")
    await pins.drive(DOOR, True)
    await until(lambda: pins.events("door") == [1, 0], "and off")
    assert pins.values("door")[-2:] == [1, 0]
    assert all(sample.time > 1e9 for sample in pins.samples)


async def test_bouncing_is_one_change(start: Callable[..., Watched], factory: MockFactory) -> None:
    pins = start(PINS.replace("debounce_seconds = 0.01", "debounce_seconds = 0.3"))
    await listening(pins, factory)
    await pins.drive(DOOR, *[bool(step % 2) for step in range(41)])
    await until(lambda: pins.events("door") == [1], "it went on once")
    assert factory.pin(DOOR).bounce == pytest.approx(0.03), "the library leaves out the shortest itself"


async def test_pulses_are_counted_and_none_is_left_out(start: Callable[..., Watched], factory: MockFactory) -> None:
    pins = start()
    await listening(pins, factory)
    await pins.drive(METER, *[True, False] * 400)
    pins.sample_all()
    await until(lambda: pins.values("meter", "gpio.edges")[-1:] == [400], "all are counted")
    (kind,) = {(each.kind, each.unit) for each in pins.samples if each.metric == "gpio.edges"}
    assert kind == ("counter", "{edge}") and pins.values("meter") == []


async def test_a_wire_that_swings_cannot_flood_the_hub(start: Callable[..., Watched], factory: MockFactory) -> None:
    pins = start()
    await listening(pins, factory)
    for _ in range(5):
        await pins.drive(BELL, *[True, False] * 30)
    await until(lambda: pins.told_of("bell") + pins.watch._left_out.get("bell", 0) == 150, "all were seen")
    assert set(pins.events("bell")) == {1} and gpiowatch.EVENTS <= len(pins.events("bell")) < 20
    assert len(pins.values("bell")) < gpiowatch.SAMPLES + 20
    pins.watch._events.set(100, 10)  # time has gone by
    pins.sample_all()
    await until(lambda: pins.told_of("bell") == 151, "what was left out is counted")
    assert pins.told[-1][1]["value"] == 0, "and how it is now is told"


async def test_what_swings_all_the_time_is_not_listened_to_for_a_while(
    start: Callable[..., Watched], factory: MockFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpioinput, "MAX_EDGES_A_SECOND", 50)
    monkeypatch.setattr(gpioinput, "PAUSE_SECONDS", 0.2)
    pins = start()
    await listening(pins, factory)
    await pins.drive(METER, *[True, False] * 100)
    await until(lambda: factory.pin(METER).when_changed is None, "it is not listened to")
    await pins.drive(METER, True)
    await until(lambda: factory.pin(METER).when_changed is not None, "it is listened to again")
    pins.sample_all()
    await until(lambda: [str(each) for each in pins.problems] != [], "that is to be seen")
    assert "meter" in str(pins.problems[0]) and "debounce_seconds" in pins.problems[0].remedy
    await until(lambda: pins.values("meter", "gpio.edges")[-1:] == [101], "what it became meanwhile is known")
    pins.sample_all()
    await until(lambda: pins.problems == [], "it was good in between")


async def test_outputs_are_told_whoever_switches_them(start: Callable[..., Watched], factory: MockFactory) -> None:
    pins = start()
    await listening(pins, factory)
    assert pins.samples and pins.values("lamp") == [], "nobody has switched it yet, and to read it would"
    await pins.board.run("gpio.write", pin="lamp", value=1)
    assert pins.values("lamp") == [1]
    await pins.board.run("gpio.pulse", pin="lamp", seconds=0.01)
    assert pins.values("lamp") == [1, 0], "it was on already"
    await pins.tasks.close()
    await pins.board.run("gpio.write", pin="lamp", value=1)
    assert pins.values("lamp") == [1, 0], "nobody wants to know any more"


async def test_a_pin_that_is_in_use_is_taken_later(
    start: Callable[..., Watched], factory: MockFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpiowatch, "RETRY_SECONDS", (0.05, 0.1))
    others = gpiozero.InputDevice(DOOR)
    lamp = gpiozero.OutputDevice(17)
    pins = start(PINS.replace('direction = "output"\n', 'direction = "output"\ninitial = 1\n', 1))
    await until(lambda: len(pins.problems) == 2, "both are in use")
    assert any("door" in str(each) for each in pins.problems)
    others.close()
    lamp.close()
    await until(lambda: pins.problems == [], "both are taken")
    assert [kind for kind, data in pins.told if data["pin"] == "door"] == ["gpio.not_taken", "gpio.taken"], "it is told once"
    assert factory.pin(17).state == 1 and pins.values("lamp") == [1]
    await until(lambda: pins.values("door") != [], "it is sampled")


async def test_without_named_pins_nothing_is_loaded(start: Callable[..., Watched]) -> None:
    pins = start("")
    assert pins.tasks._tasks == set() and pins.samples == []


async def test_a_pin_in_an_agent_raises_an_alert_at_once(tmp_path: Path, factory: MockFactory) -> None:
    """From the wire through a real agent and its leaf: the sample in the store, the alert, and what is in the way in its status."""
    (tmp_path / "agent.toml").write_text(
        f"""{PINS}
[device]
id = "pi-1"
[gpio.pins.ground]
pin = "BOARD6"
direction = "input"
[alert]
open = 'gpio.state{{pin="door"}} == 1'
[sampling]
flush_seconds = 1
[leaf]
port = {ports.pick()}
[paths]
state = "state"
runtime = "run"
"""
    )
    wanted, stop, stored = settings.load(tmp_path / "agent.toml"), asyncio.Event(), list[Sample]()
    async with Agent(wanted, stop, Machine(tmp_path / "root")) as agent:
        task = asyncio.create_task(agent.run())
        login = json.loads((wanted.state_folder / "secrets.json").read_text())["agent"]
        client = await connect(agent.leaf.url, what="hear", name="test", inbox_prefix="_INBOX.test", password=("agent", login))

        async def hear(message: Any) -> None:
            stored.extend(parse(message.subject, message.data))

        await client.subscribe(local_metric("gpio"), cb=hear)
        await until(lambda: factory.pin(DOOR).when_changed is not None, "it is listened to")
        await asyncio.to_thread(factory.pin(DOOR).drive_low)
        await until(lambda: list(agent.metrics.sampling.alerts.severities) == ["open"], "the alert is raised")
        await until(lambda: {sample.metric for sample in stored} == {"gpio.state", "gpio.edges"}, "all are in the store")
        await until(
            lambda: any("ground" in each.what for each in status.read(wanted.status_file).problems), "that is in the status"
        )
        await client.close()
        stop.set()
        await task
    kill_leftovers(tmp_path)
