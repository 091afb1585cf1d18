"""Readers for shapes that the kernel uses in more than one place. Pure but for reading files below the machine's root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.machine import Machine

__all__ = ["cell", "celsius", "children", "colon_table", "cores", "cpu_list_length", "memory", "present", "seconds_up"]

#: The zone's type on every Raspberry Pi kernel ("cpu-thermal", until Linux 5 "cpu_thermal" or "bcm2835_thermal") and on PCs.
_CPU_ZONES = ("cpu-thermal", "cpu_thermal", "bcm2835_thermal", "x86_pkg_temp")


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` without the names whose value is None or an empty text: what is not there is left out."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


def colon_table(text: str) -> dict[str, str]:
    """``name : value`` lines, as in /proc/cpuinfo and /proc/meminfo; the first of a name counts."""
    table: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            table.setdefault(name.strip(), value.strip())
    return table


def children(machine: Machine, folder: str) -> list[str]:
    """Absolute paths of what is in ``folder``, sorted; empty when it is not there."""
    try:
        return sorted(f"{folder}/{entry.name}" for entry in machine.path(folder).iterdir())
    except OSError:
        return []


def cell(machine: Machine, property_path: str) -> int | None:
    """A device tree property of one cell: 32 bits, big-endian (Devicetree Specification 2.2.4)."""
    try:
        raw = machine.path(property_path).read_bytes()
    except OSError:
        return None
    return int.from_bytes(raw, "big") if len(raw) == 4 else None


def memory(machine: Machine) -> dict[str, int]:
    """/proc/meminfo in bytes (proc_meminfo(5)); empty when it can't be read."""
    lines = colon_table(machine.text("/proc/meminfo") or "")
    return {name: int(value.split()[0]) * 1024 for name, value in lines.items() if value.endswith("kB")}


def cores(machine: Machine) -> int | None:
    """How many cores are online, None when nothing says so."""
    online = machine.text("/sys/devices/system/cpu/online")
    if online:
        return cpu_list_length(online)
    info = machine.text("/proc/cpuinfo") or ""
    return sum(line.startswith("processor") for line in info.splitlines()) or None


def cpu_list_length(text: str) -> int:
    """How many CPUs a list such as ``0-2,4`` names (cpuset(7), "List format")."""
    ends = [part.split("-") for part in text.split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def celsius(machine: Machine) -> float | None:
    """How hot the processor is, None where no sensor says so."""
    zones = [zone for zone in children(machine, "/sys/class/thermal") if "thermal_zone" in zone]
    zones.sort(key=lambda zone: machine.text(f"{zone}/type") not in _CPU_ZONES)
    # A zone whose sensor is switched off cannot be read (EAGAIN, ENODATA): then the next one speaks.
    for zone in zones:
        millidegrees = machine.integer(f"{zone}/temp")
        if millidegrees is not None:
            return round(millidegrees / 1000, 1)
    return None


def seconds_up(machine: Machine) -> float | None:
    """Seconds since the kernel started, those in suspend too."""
    text = machine.text("/proc/uptime")
    return float(text.split()[0]) if text else None
