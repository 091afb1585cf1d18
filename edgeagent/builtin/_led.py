"""A board's LEDs as the kernel shows them (Documentation/leds/leds-class)."""

from __future__ import annotations

import re
from pathlib import Path

from edgeagent.actions import printable
from edgeagent.machine import Machine

__all__ = ["LEDS", "chosen", "led", "names"]

LEDS = "/sys/class/leds"


def led(machine: Machine, name: str) -> Path | None:
    """The folder of the LED of this name, None when the board has none."""
    folder = f"{LEDS}/{name}"
    return machine.path(folder) if machine.path(f"{folder}/brightness").exists() else None


def names(machine: Machine) -> list[str]:
    """The LEDs that there are, sorted."""
    folder = machine.path(LEDS)
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def chosen(triggers: str) -> str:
    """The kernel lists all triggers, the one that counts in brackets."""
    found = re.search(r"\[([^\]\s]+)\]", triggers)
    return found.group(1) if found else printable(triggers.strip()) or "none"
