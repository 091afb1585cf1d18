"""Whether an update waits for a reboot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from edgeagent.builtin._kernel import children
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts

#: A kernel release is numbers and a flavour: ``6.12.25`` and ``+rpt-rpi-v8``, ``6.1.0-18`` and ``-arm64``.
_RELEASE = re.compile(r"(\d+(?:[.-]\d+(?![a-z\d]))*)(.*)\Z", re.DOTALL)


@facts(
    "reboot_required",
    Field("reboot_required", "bool", "An update asks for a reboot, or a newer kernel of the running flavour is installed."),
)
def read(machine: Machine) -> Mapping[str, Any]:
    # The marker is Debian's and Ubuntu's; Raspberry Pi OS upgrades the kernel without leaving one.
    if machine.path("/run/reboot-required").exists():
        return {"reboot_required": True}
    running = machine.text("/proc/sys/kernel/osrelease")
    if running is None:
        return {}
    return {"reboot_required": newer_kernel(running, _installed(machine))}


def _installed(machine: Machine) -> list[str]:
    # A removed kernel can leave its folder behind, but not the modules in it.
    return [
        folder.rpartition("/")[2] for folder in children(machine, "/lib/modules") if machine.path(f"{folder}/kernel").is_dir()
    ]


def newer_kernel(running: str, installed: Iterable[str]) -> bool:
    """Whether one of ``installed`` is what the next boot would take instead of ``running``: same flavour, higher numbers."""
    numbers, flavour = _split(running)
    return any(other_flavour == flavour and other > numbers for other, other_flavour in map(_split, installed))


def _split(release: str) -> tuple[tuple[int, ...], str]:
    found = _RELEASE.match(release)
    if not found:
        return (), release
    return tuple(int(number) for number in re.split(r"[.-]", found.group(1))), found.group(2)
