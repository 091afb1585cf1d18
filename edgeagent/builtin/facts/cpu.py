"""The processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.builtin._kernel import colon_table, cores, present
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts

#: "CPU part" of Arm Ltd. (implementer 0x41) for every core in a Raspberry Pi: each core's Technical Reference Manual, MIDR.
_ARM_PARTS = {0xB76: "ARM1176", 0xC07: "Cortex-A7", 0xD03: "Cortex-A53", 0xD08: "Cortex-A72", 0xD0B: "Cortex-A76"}


@facts(
    "cpu",
    Field("cpu.count", "int", "How many cores are online."),
    Field("cpu.model", "string", "The core's name (`Cortex-A72`)."),
    Field(
        "cpu.load_1m",
        "double",
        "Load average of the last minute: runnable and disk-waiting tasks, of all cores together.",
        volatile=True,
    ),
)
def read(machine: Machine) -> Mapping[str, Any]:
    info = machine.text("/proc/cpuinfo") or ""
    return present({"cpu.count": cores(machine), "cpu.model": model(info), "cpu.load_1m": _load(machine)})


def model(info: str) -> str | None:
    """The core's name out of /proc/cpuinfo: 64-bit Arm kernels give only its part number."""
    table = colon_table(info)
    part = table.get("CPU part")
    if part is not None and table.get("CPU implementer") == "0x41":
        return _ARM_PARTS.get(int(part, 16), f"Arm part {part}")
    return table.get("model name")


def _load(machine: Machine) -> float | None:
    text = machine.text("/proc/loadavg")
    return float(text.split()[0]) if text else None
