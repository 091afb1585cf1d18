"""How hot the processor is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.builtin._kernel import children
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts

#: The zone's type on every Raspberry Pi kernel ("cpu-thermal", until Linux 5 "cpu_thermal" or "bcm2835_thermal") and on PCs.
_CPU_ZONES = ("cpu-thermal", "cpu_thermal", "bcm2835_thermal", "x86_pkg_temp")


@facts(
    "temperature",
    Field("temperature_celsius", "double", "Temperature of the processor; a Pi throttles at 80 to 85.", volatile=True),
)
def read(machine: Machine) -> Mapping[str, Any]:
    zones = [zone for zone in children(machine, "/sys/class/thermal") if "thermal_zone" in zone]
    zones.sort(key=lambda zone: machine.text(f"{zone}/type") not in _CPU_ZONES)
    # A zone whose sensor is switched off cannot be read (EAGAIN, ENODATA): then the next one speaks.
    for zone in zones:
        millidegrees = machine.integer(f"{zone}/temp")
        if millidegrees is not None:
            return {"temperature_celsius": round(millidegrees / 1000, 1)}
    return {}
