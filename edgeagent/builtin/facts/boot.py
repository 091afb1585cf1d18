"""The machine's last boot: which, when, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from edgeagent.builtin._kernel import cell, children, present
from edgeagent.identity import boot_id
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts
from edgeagent.times import rfc3339

__all__ = ["reason"]

#: Flags of a watchdog driver's boot status (linux/watchdog.h): the first that is set is the reason.
_WATCHDOG_FLAGS = ((0x20, "watchdog"), (0x01, "overheat"), (0x10, "undervoltage"), (0x40, "overvoltage"))

#: PM_RSTS as the firmware found it. Only bits that the partition number does not use (drivers/watchdog/bcm2835_wdt.c).
_HAD_POWER_ON = 0x1000
_HAD_WATCHDOG_OR_SOFTWARE = 0x20 | 0x200

#: What the power controller of a Pi 5 says cut the power (Raspberry Pi documentation, device tree, chosen/power/power_reset).
_POWER_RESET_BITS = ((0, "overvoltage"), (1, "undervoltage"), (2, "overheat"), (4, "watchdog"))


@facts(
    "boot",
    Field("boot.id", "string", "Random id of this boot of the machine."),
    Field("boot.time", "timestamp", "When the kernel started, by the device's clock: it moves when the clock is set."),
    Field(
        "boot.reason",
        "string",
        "`power-on`, `undervoltage`, `overvoltage`, `overheat`, `watchdog`, `reset` (a reboot or a watchdog: a Pi uses one for the other) or "
        "`unknown`.",
    ),
)
def read(machine: Machine) -> Mapping[str, Any]:
    return present({"boot.id": boot_id(machine), "boot.time": _time(machine), "boot.reason": _reason(machine)})


def _time(machine: Machine) -> str | None:
    for line in (machine.text("/proc/stat") or "").splitlines():
        if line.startswith("btime "):
            return rfc3339(datetime.fromtimestamp(int(line.split()[1]), timezone.utc))
    return None


def _reason(machine: Machine) -> str:
    statuses = [machine.text(f"{watchdog}/bootstatus") for watchdog in children(machine, "/sys/class/watchdog")]
    chosen = "/proc/device-tree/chosen"
    return reason(
        watchdog_status=next((int(status, 0) for status in statuses if status and status != "0"), 0),
        reset_status=cell(machine, f"{chosen}/bootloader/rsts"),
        power_reset=cell(machine, f"{chosen}/power/power_reset"),
        cuts_own_power="bcm2711" in (machine.text("/proc/device-tree/compatible") or ""),
    )


def reason(*, watchdog_status: int, reset_status: int | None, power_reset: int | None, cuts_own_power: bool) -> str:
    """Why the machine started, as far as anything can tell.

    watchdog_status: a watchdog driver's boot status. reset_status: PM_RSTS. power_reset: the power controller's word; it stays
    from an earlier boot, so it counts only if the power was off. None = not told. cuts_own_power: the board may cut its power on
    a mere reboot, as a Pi 4 does to get its card back to 3.3 V (raspberrypi/linux issue 4527): then power-on proves nothing.
    """
    for flag, name in _WATCHDOG_FLAGS:
        if watchdog_status & flag:
            return name
    if reset_status is None:
        return "unknown"
    # The power-on bit can still be there after a reboot ("PM_RSTS: 0x00001020"), so the other one is asked first.
    if reset_status & _HAD_WATCHDOG_OR_SOFTWARE:
        return "reset"
    if not reset_status & _HAD_POWER_ON:
        return "unknown"
    for bit, name in _POWER_RESET_BITS:
        if power_reset is not None and power_reset >> bit & 1:
            return name
    return "unknown" if cuts_own_power else "power-on"
