"""``[gpio]`` of agent.toml: what it may say, and that the hub has no say in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpiozero.pins.pi import PiBoardInfo

from edgeagent import config, settings
from edgeagent.errors import SettingsProblem
from edgeagent.gpiosettings import PinSettings

SOURCE = Path("/etc/edgeagent/agent.toml")
#: A Raspberry Pi 3B, with the header that all have had since 2014.
REVISION = 0xA02082


def lamp(more: str, pin: str = "17", direction: str = "output") -> str:
    return f'[gpio.pins.lamp]\npin = {pin}\ndirection = "{direction}"\n{more}\n'


def test_pins_are_named() -> None:
    button = '[gpio.pins.button]\npin = "BOARD13"\ndirection = "input"\npull = "up"\nactive_high = false'
    found = settings.parse(lamp("initial = 0\nmax_pulse_seconds = 5") + button, SOURCE).gpio.pins
    assert found == {
        "lamp": PinSettings(pin=17, direction="output", initial=0, max_pulse_seconds=5.0),
        "button": PinSettings(pin="BOARD13", direction="input", pull="up", active_high=False),
    }


PROBLEMS: dict[str, tuple[str, str]] = {
    "no-pin": ('[gpio.pins.lamp]\ndirection = "output"', "gpio.pins.lamp.pin: it must be set"),
    "no-direction": ("[gpio.pins.lamp]\npin = 17", "gpio.pins.lamp.direction: it must be set"),
    "no-table": ("[gpio.pins]\nlamp = 17", "gpio.pins.lamp = 17: it must be a table"),
    "misspelt": (lamp("max_pulse_second = 3"), "did you mean gpio.pins.lamp.max_pulse_seconds?"),
    "direction": (lamp("", direction="out"), "gpio.pins.lamp.direction = 'out': it must be one of input, output"),
    "pin-word": (lamp("", pin='"SDA"'), "gpio.pins.lamp.pin = 'SDA': it must be a pin such as 17"),
    "pin-below-none": (lamp("", pin="-1"), "gpio.pins.lamp.pin = -1: it must be a pin such as 17"),
    "pin-fraction": (lamp("", pin="1.5"), "gpio.pins.lamp.pin = 1.5: it must be a whole number or text"),
    "initial": (lamp("initial = 2"), "gpio.pins.lamp.initial = 2: it must be one of 0, 1"),
    "initial-word": (lamp('initial = "on"'), "gpio.pins.lamp.initial = 'on': it must be one of 0, 1"),
    "initial-of-an-input": (lamp("initial = 1", direction="input"), "gpio.pins.lamp.initial = 1: only an output has one"),
    "pull-of-an-output": (lamp('pull = "up"'), "gpio.pins.lamp.pull = 'up': only an input has one"),
    "event-of-an-output": (lamp('event = "both"'), "gpio.pins.lamp.event = 'both': only an input has one"),
    "count-of-an-output": (lamp("count = true"), "gpio.pins.lamp.count = true: only an input is counted"),
    "event": (lamp('event = "on"', direction="input"), "it must be one of none, rising, falling, both"),
    "debounce": (lamp("debounce_seconds = -1", direction="input"), "it must be at least 0"),
    "endless-debounce": (lamp("debounce_seconds = 11", direction="input"), "it must be at most 10"),
    "endless-pulse": (lamp("max_pulse_seconds = 3601"), "it must be at most 3600"),
    "no-pulse": (lamp("max_pulse_seconds = 0"), "it must be more than 0"),
    "name": ('[gpio.pins.Lamp]\npin = 17\ndirection = "input"', "gpio.pins.Lamp: it must be 1 to 32 of a-z"),
}


@pytest.mark.parametrize(("text", "problem"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_what_is_wrong_is_said(text: str, problem: str) -> None:
    with pytest.raises(SettingsProblem) as caught:
        settings.parse(text, SOURCE)
    (found,) = caught.value.problems
    assert problem in found


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsProblem) as caught:
        settings.parse(lamp("initial = 2", direction="out") + '[gpio.pins.b]\ndirection = "input"\npul = "up"', SOURCE)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("pin", ["17", '"GPIO17"', '"BCM17"', '"BOARD11"', '"17"'])
def test_two_names_for_one_pin(pin: str) -> None:
    with pytest.raises(SettingsProblem, match=r"gpio\.pins\.door\.pin = .*: GPIO17 is 'lamp' already"):
        settings.parse(lamp("") + f'[gpio.pins.door]\npin = {pin}\ndirection = "input"', SOURCE)


def test_places_on_the_header_are_those_of_the_board() -> None:
    header = PiBoardInfo.from_revision(REVISION).headers["J8"]
    pins = {number: pin.name for number, pin in header.pins.items() if pin.name.startswith("GPIO")}
    assert len(pins) == 28
    assert {number: PinSettings(pin=f"BOARD{number}", direction="input").place for number in pins} == pins
    assert PinSettings(pin="BOARD1", direction="input").place == "BOARD1"


def test_the_hub_can_not_name_pins() -> None:
    wanted = {"gpio": {"pins": {"lamp": {"pin": 17, "direction": "output"}}}}
    assert config.misplaced(wanted) == [
        f"gpio.pins.lamp.{key}: it is set in agent.toml on the device itself, not from the hub" for key in ("pin", "direction")
    ]
    own = settings.parse("", SOURCE)
    assert config.with_config(own, wanted).gpio.pins == {}
