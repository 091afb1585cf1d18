from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edgeagent.builtin import _mailbox
from edgeagent.builtin.facts.throttling import Throttling
from edgeagent.machine import Machine
from tests.support import fakeroot
from tests.support.fakeroot import FakeRoot


@pytest.fixture
def pi(tmp_path: Path) -> FakeRoot:
    return fakeroot.pi_4(tmp_path)


def moments() -> Callable[[], datetime]:
    ticks = iter(range(60))
    return lambda: datetime(2026, 1, 2, 3, 4, next(ticks), tzinfo=timezone.utc)


def test_firmware_tells_facts_of(pi: FakeRoot) -> None:
    asked: list[str] = []

    def firmware(machine: Machine, command: str) -> str:
        asked.append(command)
        return "throttled=0xd0008"

    read = Throttling(ask_firmware=firmware, now=moments())
    found = read(pi.machine)
    assert asked == ["get_throttled"]
    assert {name for name, value in found.items() if value is True} == {
        "throttling.soft_temperature_limit_now",
        "throttling.undervoltage_since_boot",
        "throttling.throttled_since_boot",
        "throttling.soft_temperature_limit_since_boot",
    }
    assert len(found) == 9


def test_since_is_when_it_was_first_seen_and_stays(pi: FakeRoot) -> None:
    answers = iter(["throttled=0x0", "throttled=0x50005", "throttled=0x50000", "throttled=0x0"])
    read = Throttling(ask_firmware=lambda machine, command: next(answers), now=moments())
    assert "throttling.since" not in read(pi.machine)
    readings = [read(pi.machine) for _ in range(3)]
    assert [reading["throttling.since"] for reading in readings] == ["2026-01-02T03:04:00.000Z"] * 3
    assert [reading["throttling.undervoltage_now"] for reading in readings] == [True, False, False]
    assert [reading["throttling.undervoltage_since_boot"] for reading in readings] == [True, True, True]


def test_voltage_sensor_is_used_where_the_firmware_is_out_of_reach(pi: FakeRoot) -> None:
    read = Throttling(now=moments())
    assert read(pi.machine) == {"throttling.undervoltage_now": False, "throttling.undervoltage_since_boot": False}
    pi.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1")
    assert read(pi.machine)["throttling.undervoltage_now"] is True
    pi.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0")
    assert read(pi.machine) == {
        "throttling.undervoltage_now": False,
        "throttling.undervoltage_since_boot": True,
        "throttling.since": "2026-01-02T03:04:00.000Z",
    }


def test_old_kernels_file_only_without_the_sensor(pi: FakeRoot) -> None:
    pi.write("/sys/devices/platform/soc/soc:firmware/get_throttled", "50000")
    assert len(Throttling()(pi.machine)) == 2
    pi.remove("/sys/class/hwmon/hwmon1")
    found = Throttling()(pi.machine)
    assert (found["throttling.undervoltage_now"], found["throttling.throttled_since_boot"]) == (False, True)


def test_a_new_boot_forgets(pi: FakeRoot) -> None:
    read = Throttling()
    pi.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1")
    assert read(pi.machine)["throttling.undervoltage_since_boot"] is True
    pi.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0").write("/proc/sys/kernel/random/boot_id", "another")
    assert read(pi.machine)["throttling.undervoltage_since_boot"] is False


@pytest.mark.parametrize("answer", ["", 'error=1 error_msg="Command not registered"', "error=1", "throttled=?"])
def test_an_answer_that_is_none_falls_back(pi: FakeRoot, answer: str) -> None:
    assert set(Throttling(ask_firmware=lambda machine, command: answer)(pi.machine)) == {
        "throttling.undervoltage_now",
        "throttling.undervoltage_since_boot",
    }


def test_mailbox_message_is_the_one_of_vcgencmd() -> None:
    message = _mailbox.question("get_throttled")
    words = struct.unpack_from("=6I", message)
    assert words == (1052, 0, 0x00030080, 1024, 0, 0)
    assert len(message) == 1052
    assert message[24:38] == b"get_throttled\0"
    assert message[-4:] == bytes(4)
    assert _mailbox.reply_text(message) is None, "a request that came back unanswered"
    struct.pack_into("=I", message, 4, 0x80000000)
    message[24:38] = b"throttled=0x5\0"
    assert _mailbox.reply_text(message) == "throttled=0x5"
    struct.pack_into("=I", message, 20, 1)
    assert _mailbox.reply_text(message) is None


def test_no_firmware_is_asked_for_a_relocated_root(pi: FakeRoot) -> None:
    assert _mailbox.ask(pi.machine, "get_throttled") is None
