"""The examples in deploy/: whole, and as open as they say and no more."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from edgeagent.bridge import usb
from edgeagent.builtin.actions import identify

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "polkit" / "50-edgeagent.rules"
LEDS = ROOT / "deploy" / "udev" / "70-edgeagent-leds.rules"
SERIAL = ROOT / "deploy" / "udev" / "71-edgeagent-serial.rules"
UNIT = ROOT / "systemd" / "edgeagent.service"


def rules_without_comments() -> str:
    return re.sub(r"//.*", "", RULES.read_text())


def test_the_polkit_rules_open_the_reboot_and_nothing_else() -> None:
    text = rules_without_comments()
    assert text.count("(") == text.count(")") and text.count("{") == text.count("}") and text.count("[") == text.count("]")
    assert text.strip().startswith("polkit.addRule(function (action, subject) {") and text.strip().endswith("});")
    named = set(re.findall(r'"(org\.freedesktop\.[^"]+)"', text))
    reboots = {"org.freedesktop.login1.reboot", "org.freedesktop.login1.reboot-multiple-sessions"}
    assert named == {*reboots, "org.freedesktop.systemd1.manage-units"}
    assert "=>" not in text and not re.search(r"\b(let|const)\b", text), "older versions of polkit know no newer JavaScript"


ASKED: dict[str, tuple[str, dict[str, str], str, str]] = {
    "reboot": ("org.freedesktop.login1.reboot", {}, "edgeagent", "yes"),
    "another-user": ("org.freedesktop.login1.reboot", {}, "pi", "not handled"),
    "power-off": ("org.freedesktop.login1.power-off", {}, "edgeagent", "not handled"),
    "listed": ("org.freedesktop.systemd1.manage-units", {"unit": "nginx.service", "verb": "restart"}, "edgeagent", "yes"),
    "not-listed": ("org.freedesktop.systemd1.manage-units", {"unit": "ssh.service", "verb": "stop"}, "edgeagent", "not handled"),
    "other-verb": (
        "org.freedesktop.systemd1.manage-units",
        {"unit": "nginx.service", "verb": "kill"},
        "edgeagent",
        "not handled",
    ),
    "no-unit": ("org.freedesktop.systemd1.manage-units", {}, "edgeagent", "not handled"),
    "unit-files": ("org.freedesktop.systemd1.manage-unit-files", {"unit": "nginx.service"}, "edgeagent", "not handled"),
}


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")
@pytest.mark.parametrize(("action", "details", "user", "answer"), ASKED.values(), ids=ASKED.keys())
def test_what_the_polkit_rules_answer(action: str, details: dict[str, str], user: str, answer: str) -> None:
    """With the unit of the example listed, as its owner would."""
    script = f"""
        let rule; const polkit = {{ addRule: (given) => {{ rule = given; }}, Result: {{ YES: "yes", NOT_HANDLED: "not handled" }} }};
        {RULES.read_text().replace('// "nginx.service"', '"nginx.service"')}
        const details = {json.dumps(details)};
        console.log(rule({{ id: {json.dumps(action)}, lookup: (word) => details[word] }}, {{ user: {json.dumps(user)} }}));
    """
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == answer


def test_the_udev_rule_is_about_the_led_that_blinks() -> None:
    (rule,) = [line for line in LEDS.read_text().splitlines() if line and not line.startswith("#")]
    parts = [re.fullmatch(r'([A-Z]+)(==|\+=)"([^"]+)"', part) for part in rule.split(", ")]
    assert all(parts)
    found = [(part[1], part[3]) for part in parts if part]
    assert [key for key, _ in found] == ["ACTION", "SUBSYSTEM", "KERNEL", "RUN", "RUN"]
    assert {f"/sys/class/leds/{name}" for name in dict(found)["KERNEL"].split("|")} == set(identify._LEDS)
    for program in (value for key, value in found if key == "RUN"):
        assert program.endswith(" %S%p/brightness %S%p/trigger") and Path(program.split()[0]).exists()


def test_the_udev_rules_of_microcontrollers() -> None:
    text = SERIAL.read_text()
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    parts = [[re.fullmatch(r'([A-Z]+)(?:\{(\w+)\})?(==|=|\+=)"([^"]+)"', part) for part in rule.split(", ")] for rule in rules]
    assert all(part for rule in parts for part in rule)
    open_to, named = [{(part[1], part[2]): (part[3], part[4]) for part in rule if part} for rule in parts]
    assert open_to["SUBSYSTEM", None] == named["SUBSYSTEM", None] == ("==", "tty")
    assert set(open_to["KERNEL", None][1].split("|")) == {f"{driver}*" for driver in usb._DRIVERS}
    assert all(re.fullmatch("[0-9a-f]{4}", vendor) for vendor in open_to["ATTRS", "idVendor"][1].split("|"))
    assert open_to["ENV", "ID_MM_DEVICE_IGNORE"] == ("=", "1") and open_to["GROUP", None] == ("=", "dialout")
    assert open_to["MODE", None] == ("=", "0660"), "nobody else may use them"
    assert named["ENV", "ID_SERIAL_SHORT"][0] == "==" and named["SYMLINK", None] == ("+=", "edgeagent/$env{ID_SERIAL_SHORT}")
    assert SERIAL.name in text


def test_the_unit_leaves_its_pins_and_wires_to_the_service() -> None:
    lines = [line for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    open_to = {line.partition("=")[2].split()[0] for line in lines if line.startswith("DeviceAllow=")}
    assert {"char-gpiochip", *(f"char-{driver}" for driver in usb._DRIVERS)} <= open_to
    assert not any(line.startswith("PrivateDevices=") for line in lines), "it would hide them"


def test_pins_cost_only_who_asks_for_them_and_the_examples_are_in_the_source_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert not [each for each in project["project"]["dependencies"] if "gpio" in each]
    assert {each.partition(">")[0] for each in project["project"]["optional-dependencies"]["gpio"]} == {"gpiozero", "lgpio"}
    targets = project["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["packages"] == ["edgeagent"] and {"systemd", "deploy"} <= set(targets["sdist"]["include"])


def test_what_the_agent_says_names_files_that_there_are() -> None:
    for named in re.findall(r"deploy/[\w./-]*\w", f"{identify.RULES} {(ROOT / 'docs' / 'actions.md').read_text()}"):
        assert (ROOT / named).is_file(), named
