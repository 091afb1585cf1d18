"""Readers for shapes that the kernel uses in more than one place. Pure but for reading files below the machine's root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.machine import Machine

__all__ = ["cell", "children", "colon_table", "present"]


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
