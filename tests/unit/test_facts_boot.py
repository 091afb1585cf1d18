from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.builtin.facts.boot import reason
from tests.support import fakeroot
from tests.support.fakeroot import FakeRoot, facts_of


@pytest.fixture
def pi(tmp_path: Path) -> FakeRoot:
    return fakeroot.pi_4(tmp_path)


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("unknown", {}),
        ("watchdog", {"watchdog_status": 0x20, "reset_status": 0x1000}),
        ("overheat", {"watchdog_status": 0x01}),
        ("power-on", {"reset_status": 0x1000}),
        ("power-on", {"reset_status": 0x1000, "power_reset": 0}),
        ("reset", {"reset_status": 0x20}),
        ("reset", {"reset_status": 0x1020}),
        ("reset", {"reset_status": 0x20, "power_reset": 0x2}),  # the power controller's word is from an earlier boot
        ("undervoltage", {"reset_status": 0x1000, "power_reset": 0x2}),
        ("watchdog", {"reset_status": 0x1000, "power_reset": 0x10}),
        ("unknown", {"reset_status": 0x1000, "cuts_own_power": True}),
        ("unknown", {"reset_status": 0x555}),  # nothing but a partition number: it was halted
    ],
)
def test_boot_reason(expected: str, told: dict[str, Any]) -> None:
    silent: dict[str, Any] = {"watchdog_status": 0, "reset_status": None, "power_reset": None, "cuts_own_power": False}
    assert reason(**{**silent, **told}) == expected


def test_boot_reason_is_read_from_the_watchdog_and_the_firmware(pi: FakeRoot) -> None:
    pi.property("chosen/bootloader/rsts", fakeroot.cell(0x1000))
    assert facts_of(pi.machine)["boot.reason"] == "unknown", "a Pi 4 cuts its own power when it reboots"
    pi.write("/sys/class/watchdog/watchdog1/bootstatus", "32")
    assert facts_of(pi.machine)["boot.reason"] == "watchdog"
