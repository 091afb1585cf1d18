"""Main memory and swap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.builtin._kernel import memory
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts


@facts(
    "memory",
    Field("memory.total_bytes", "int", "Memory that Linux can use; a little less than what is soldered on, by the GPU's share."),
    Field(
        "memory.available_bytes",
        "int",
        "Memory that programs could have without swapping (the kernel's MemAvailable).",
        volatile=True,
    ),
    Field("memory.utilization", "double", "Share of the memory that is not available, 0 to 1.", volatile=True),
    Field("swap.total_bytes", "int", "Size of all swap, zram too; 0 when there is none."),
)
def read(machine: Machine) -> Mapping[str, Any]:
    sizes = memory(machine)
    found = {
        "memory.total_bytes": sizes.get("MemTotal"),
        "memory.available_bytes": sizes.get("MemAvailable"),
        "swap.total_bytes": sizes.get("SwapTotal"),
        "memory.utilization": _utilization(sizes.get("MemTotal"), sizes.get("MemAvailable")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _utilization(total: int | None, available: int | None) -> float | None:
    return round(1 - available / total, 4) if total and available is not None else None
