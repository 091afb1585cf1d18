"""The actions of pins, with gpiozero's own mock in place of the board, as they are run and through an agent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import gpiozero
import pytest
import pytest_asyncio
from gpiozero.pins.mock import MockFactory

from edgeagent import actions
from edgeagent.actions import Outcome
from edgeagent.builtin import actions as builtin_actions
from edgeagent.machine import Machine
from edgeagent.patterns import gpio
from edgeagent.patterns.gpio import Pins, means
from tests.support.acting import Board
from tests.support.commanding import Author, heard, person
from tests.support.enrolling import NewDevice
from tests.support.servers import kill, kill_leftovers, until
from tests.support.trusthub import TrustHub

PINS = """
[commands]
allow = ["gpio.*"]
[gpio.pins.lamp]
pin = 17
direction = "output"
max_pulse_seconds = 600
[gpio.pins.relay]
pin = "BOARD13"
direction = "output"
active_high = false
initial = 0
[gpio.pins.door]
pin = 22
direction = "input"
pull = "up"
active_high = false
[gpio.pins.level]
pin = "GPIO23"
direction = "input"
"""


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockFactory]:
    assert builtin_actions.__path__
    factory = MockFactory()
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    monkeypatch.setattr(gpiozero.Device, "pin_factory", factory)
    monkeypatch.setattr(gpio, "_taken", {})
    yield factory
    factory.reset()


@pytest.fixture
def board(tmp_path: Path, pins: MockFactory) -> Board:
    return Board(tmp_path, PINS)


def ok(pin: str, value: int | None) -> Outcome:
    return Outcome("succeeded", value={"pin": pin, "value": value})


def high(pins: MockFactory, number: int) -> bool:
    return bool(pins.pin(number).state)


async def test_an_output_stays_as_it_was_switched(board: Board, pins: MockFactory) -> None:
    assert await board.run("gpio.write", pin="lamp", value=1) == ok("lamp", 1)
    assert pins.pin(17).function == "output" and high(pins, 17)
    assert await board.run("gpio.read", pin="lamp") == ok("lamp", 1)
    assert await board.run("gpio.write", pin="relay", value=0) == ok("relay", 0)
    assert high(pins, 17), "another pin is another pin"
    assert await board.run("gpio.write", pin="lamp", value=0) == ok("lamp", 0)
    assert pins.pin(17).function == "output" and not high(pins, 17)


async def test_what_is_on_when_it_is_low(board: Board, pins: MockFactory) -> None:
    await board.run("gpio.write", pin="relay", value=1)
    assert not high(pins, 27)
    assert await board.run("gpio.read", pin="relay") == ok("relay", 1)
    await board.run("gpio.write", pin="relay", value=0)
    assert high(pins, 27)


async def test_an_output_that_nobody_switched_is_left_alone(board: Board, pins: MockFactory) -> None:
    assert await board.run("gpio.read", pin="lamp") == ok("lamp", None)
    assert pins.pin(17).function == "input"


async def test_inputs(board: Board, pins: MockFactory) -> None:
    assert await board.run("gpio.read", pin="door") == ok("door", 0)
    assert pins.pin(22).pull == "up"
    pins.pin(22).drive_low()
    assert await board.run("gpio.read", pin="door") == ok("door", 1)
    assert await board.run("gpio.read", pin="level") == ok("level", 0)
    assert pins.pin(23).pull == "floating"
    pins.pin(23).drive_high()
    assert await board.run("gpio.read", pin="level") == ok("level", 1)


async def test_a_pulse(board: Board, pins: MockFactory) -> None:
    await board.run("gpio.write", pin="lamp", value=0)
    pins.pin(17).clear_states()
    assert await board.run("gpio.pulse", pin="lamp", seconds=0.01) == ok("lamp", 0)
    assert [bool(each.state) for each in pins.pin(17).states] == [False, True, False]


async def test_a_pulse_ends_when_it_is_cancelled(board: Board, pins: MockFactory) -> None:
    running = asyncio.create_task(board.run("gpio.pulse", pin="lamp", seconds=600))
    await until(lambda: high(pins, 17), "it is on")
    assert await board.run("gpio.read", pin="lamp") == ok("lamp", 1), "who reads does not wait"
    board.cancelled.set()
    assert (await running).state == "cancelled"
    assert pins.pin(17).function == "output" and not high(pins, 17)


async def test_a_pulse_ends_with_the_agent(board: Board, pins: MockFactory) -> None:
    running = asyncio.create_task(board.run("gpio.pulse", pin="relay", seconds=600))
    await until(lambda: pins.pin(27).function == "output" and not high(pins, 27), "it is on")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert high(pins, 27)


async def test_a_pulse_in_which_the_agent_was_killed(board: Board, pins: MockFactory) -> None:
    await board.run("gpio.write", pin="lamp", value=1)
    found = actions.find("gpio.pulse")
    assert found is not None
    assert found.recover(board.context, actions.arguments(found, {"pin": "lamp", "seconds": 5}), "boot-1") is None
    assert not high(pins, 17)
    assert found.recover(board.context, actions.arguments(found, {"pin": "gone"}), "boot-1") is None


def test_what_an_output_is_from_the_start(board: Board, pins: MockFactory) -> None:
    mine = Pins(board.settings, board.machine)
    assert list(mine.begin()) == []
    assert pins.pin(27).function == "output" and high(pins, 27)
    assert {pins.pin(number).function for number in (17, 22, 23)} == {"input"}
    mine.write("relay", 1)
    assert list(Pins(board.settings, board.machine).begin()) == []
    assert not high(pins, 27), "an agent that begins anew leaves it"


async def test_other_settings_of_a_pin_count_when_it_is_next_wanted(board: Board, pins: MockFactory, tmp_path: Path) -> None:
    await board.run("gpio.write", pin="lamp", value=1)
    other = Board(tmp_path, PINS.replace("pin = 17", "pin = 5"))
    assert await other.run("gpio.write", pin="lamp", value=1) == ok("lamp", 1)
    assert high(pins, 5) and pins.pin(17).function == "input"


REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown": ("gpio.read", {"pin": "lmap"}, "agent.toml would need `[gpio.pins.lmap]`"),
    "unknown-output": ("gpio.write", {"pin": "lmap", "value": 1}, '`[gpio.pins.lmap]` with `direction = "output"`'),
    "an-input": ("gpio.write", {"pin": "door", "value": 1}, '`[gpio.pins.door]` with `direction = "output"`'),
    "pulse-of-an-input": ("gpio.pulse", {"pin": "door"}, '`direction = "output"`'),
    "too-long": ("gpio.pulse", {"pin": "relay", "seconds": 61}, "`gpio.pins.relay.max_pulse_seconds` of 61; it is 60"),
    "for-ever": ("gpio.pulse", {"pin": "lamp", "seconds": 3601}, "at most 3600"),
    "number": ("gpio.write", {"pin": "17", "value": 1}, "it must be 1 to 32 of a-z"),
    "half": ("gpio.write", {"pin": "lamp", "value": 0.5}, "a whole number"),
    "two": ("gpio.write", {"pin": "lamp", "value": 2}, "at most 1"),
}


@pytest.mark.parametrize(("name", "args", "why"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_is_refused(board: Board, name: str, args: dict[str, Any], why: str) -> None:
    assert why in board.refusal(name, **args)


def test_what_is_allowed(board: Board, tmp_path: Path) -> None:
    assert board.refusal("gpio.pulse", pin="lamp", seconds=600) == ""
    closed = Board(tmp_path, PINS.replace('"gpio.*"', '"gpio.read"'))
    assert closed.refusal("gpio.read", pin="lamp") == ""
    assert "`gpio.write` in `commands.allow`" in closed.refusal("gpio.write", pin="lamp", value=1)


@pytest.mark.parametrize(("pin", "why"), [('"GPIO99"', "GPIO99"), ('"BOARD6"', "GND")], ids=["none", "ground"])
async def test_what_the_board_does_not_have(tmp_path: Path, pins: MockFactory, pin: str, why: str) -> None:
    board = Board(tmp_path, PINS.replace("pin = 17", f"pin = {pin}"))
    outcome = await board.run("gpio.write", pin="lamp", value=1)
    assert outcome.state == "failed" and why in outcome.reason
    assert (await board.run("gpio.pulse", pin="lamp")).state == "failed"


async def test_without_the_package(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    for name, args in {"gpio.read": {}, "gpio.write": {"value": 1}, "gpio.pulse": {}}.items():
        outcome = await board.run(name, pin="door" if name == "gpio.read" else "lamp", **args)
        assert outcome.state == "refused" and "edgeagent[gpio]" in outcome.reason, name
    (said,) = Pins(board.settings, board.machine).begin()
    assert "edgeagent[gpio]" in str(said)


@pytest.mark.parametrize("has_chip", [True, False], ids=["chip", "no-chip"])
async def test_without_a_way_to_the_pins(board: Board, monkeypatch: pytest.MonkeyPatch, has_chip: bool) -> None:
    if has_chip:
        board.put("/dev/gpiochip0", "")
    monkeypatch.setattr(gpiozero.Device, "pin_factory", None)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "no-such-way")
    outcome = await board.run("gpio.write", pin="lamp", value=1)
    assert outcome.state == "failed"
    assert ("the group gpio" if has_chip else "no /dev/gpiochip0") in outcome.reason


def test_what_is_missing_is_seen_without_taking_a_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    assert means(machine) is None
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "lgpio")
    (tmp_path / "lgpio.py").write_text("raise AssertionError('it is not to be loaded')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "no /dev/gpiochip0" in str(means(machine))
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "gpiochip0").touch()
    assert means(machine) is None
    monkeypatch.setitem(sys.modules, "lgpio", None)
    found = means(machine)
    assert found and found.code == "refused" and "edgeagent[gpio]" in found.remedy


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        hub.signers = {hub._roles[role].public: role for role in ("operator", "admin")}
        yield hub
    kill_leftovers(tmp_path)


async def test_a_device_switches_its_pins(hub: TrustHub, tmp_path: Path) -> None:
    """From the operator's signed command to the pin; the agent is then killed in the middle of a pulse."""
    device = NewDevice(tmp_path / "device", reconnect_seconds=0.2, more=PINS)
    await device.enrolled_with(hub)
    author = Author(await hub.connect("OPS"), person(hub))

    async def said(name: str, **args: Any) -> Outcome:
        found = await heard(author.client, await author.send(name, args))
        return Outcome(found.state, found.reason, found.exit_code, found.value)

    with device.running(GPIOZERO_PIN_FACTORY="mock") as agent:
        assert await said("gpio.read", pin="relay") == ok("relay", 0), "it has its initial state"
        assert await said("gpio.write", pin="lamp", value=1) == ok("lamp", 1)
        assert await said("gpio.read", pin="lamp") == ok("lamp", 1), "it is still on after the action"
        assert (await said("gpio.write", pin="door", value=1)).state == "refused"
        assert await said("gpio.pulse", pin="lamp", seconds=0.1) == ok("lamp", 0)
        cut = await author.send("gpio.pulse", {"pin": "lamp", "seconds": 500})
        await until(lambda: "gpio.pulse pin=lamp seconds=500" in device.log, "it runs")
        await until(lambda: (found := device.status()) is not None and found.commands.running == 1, "its status says so")
        kill(agent.pid)
        agent.wait()
    with device.running(GPIOZERO_PIN_FACTORY="mock"):
        assert (await heard(author.client, cut)).state == "unknown"
        assert await said("gpio.read", pin="lamp") == ok("lamp", 0), "it was switched off before anything else"
