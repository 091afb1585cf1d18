"""[serial] of agent.toml: what may be said of a wired microcontroller, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent import config, settings
from edgeagent.errors import SettingsProblem
from edgeagent.serialsettings import SerialMcu, clash, compiled, together

A = '[serial.mcus.a]\nusb = "2e8a:0005"\n'


def parsed(text: str) -> dict[str, SerialMcu]:
    return settings.parse(text, Path("/etc/edgeagent/agent.toml")).serial.mcus


def test_what_may_be_said() -> None:
    found = parsed(
        f'{A}serial_number = "1"\n[serial.mcus.b]\nusb = "2e8a:0005"\nserial_number = "2"\n[serial.mcus.c]\nport = "/dev/ttyAMA0"\nbaud = 9600\n'
        "mode = 'lines'\nformat = 'regex'\npattern = 'T=(?P<celsius>-?[0-9.]+)'\nreset_on_open = false\n"
    )
    assert found["a"] == SerialMcu(usb="2e8a:0005", serial_number="1")
    assert found["c"].baud == 9600 and not found["c"].reset_on_open


def test_the_hub_may_change_none_of_it() -> None:
    assert not [key for key in config.KEYS if key.startswith("serial")]


WRONG = {
    "neither": ("[serial.mcus.a]\nbaud = 9600\n", "serial.mcus.a.usb: either this or port must be set"),
    "both": (f'{A}port = "/dev/ttyACM0"\n', "serial.mcus.a.usb: either this or port must be set"),
    "usb": ('[serial.mcus.a]\nusb = "2E8A:0005"\n', "as lower case hex digits, such as 2e8a:0005"),
    "port": ('[serial.mcus.a]\nport = "ttyACM0"\n', "an absolute path such as /dev/ttyAMA0"),
    "id": ('[serial.mcus.A]\nusb = "2e8a:0005"\n', "1 to 63 of a-z, 0-9 and '-'"),
    "number of a port": ('[serial.mcus.a]\nport = "/dev/x"\nserial_number = "1"\n', "only a USB device has one"),
    "twice": (f'{A}[serial.mcus.b]\nusb = "2e8a:0005"\n', "serial.mcus.b: what is plugged in may be 'a' as well; give each"),
    "one without number": (f'{A}[serial.mcus.b]\nusb = "2e8a:0005"\nserial_number = "1"\n', "may be 'a' as well"),
    "the same path": ('[serial.mcus.a]\nport = "/dev/x"\n[serial.mcus.b]\nport = "/dev/x"\n', "may be 'a' as well"),
    "framed": (f"{A}format = 'line_protocol'\n", "serial.mcus.a.format: it needs mode = 'lines'"),
    "framed pattern": (f"{A}pattern = '(?P<a>.)'\n", "serial.mcus.a.pattern: it needs mode = 'lines'"),
    "no pattern": (f"{A}mode = 'lines'\nformat = 'regex'\n", "serial.mcus.a.pattern: it must be set"),
    "pattern of json": (f"{A}mode = 'lines'\npattern = '(?P<a>.)'\n", "serial.mcus.a.pattern: it must be set for format"),
    "no group": (f"{A}mode = 'lines'\nformat = 'regex'\npattern = 'x'\n", "it has no named group"),
    "no regex": (f"{A}mode = 'lines'\nformat = 'regex'\npattern = '(?P<a>'\n", "it is no regular expression"),
}


@pytest.mark.parametrize(("text", "why"), WRONG.values(), ids=WRONG.keys())
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(SettingsProblem) as caught:
        parsed(text)
    assert why in str(caught.value)


SLOW = ["(?P<a>(x+)+)", "(?P<a>(x|y.)*)", "(?P<a>(?:x?){30})", "(?P<a>(?:[0-9]+,)*)", "(?:(?=(?P<a>x+)))+", r"(?P<a>(\w+\s?)+)"]
QUICK = [r"T=(?P<celsius>-?\d+(?:\.\d+)?) H=(?P<humidity>\d{1,3})", "(?P<a>[0-9.]+)(?: V| mV)?", "^(?:on|off) (?P<n>[0-9]+)$"]


@pytest.mark.parametrize("pattern", SLOW)
def test_what_may_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="repetition within a repetition"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", QUICK)
def test_usual_expressions_are_taken(pattern: str) -> None:
    assert compiled(pattern).groupindex


def test_those_of_the_file_go_before_those_that_were_added() -> None:
    pico = SerialMcu(usb="2e8a:0005")
    added = {
        "a": SerialMcu(port="/dev/x"),
        "b": SerialMcu(usb="2e8a:0005", serial_number="1"),
        "c": SerialMcu(port="/dev/y"),
    }
    assert together({"a": pico}, added) == {"a": pico, "c": added["c"]}
    assert not clash(SerialMcu(port="/dev/x"), pico)
