"""Whether this user has what the actions need that agent.toml allows: for hints, before a command fails for it. Nothing is tried.

Whether systemd lets it reboot and manage units can't be seen: polkit's rules are closed to all but root.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase

from edgeagent.assembly.findings import Finding
from edgeagent.builtin.actions import identify
from edgeagent.errors import EdgeError, Failed
from edgeagent.machine import Machine
from edgeagent.patterns import gpio
from edgeagent.patterns.unitactions import UnitActions
from edgeagent.settings import Settings

__all__ = ["JOURNAL_GROUP", "lacking"]

Look = Callable[[Settings, Machine], "EdgeError | None"]

JOURNAL_GROUP = "sudo usermod -aG systemd-journal edgeagent"


def lacking(settings: Settings, machine: Machine) -> Iterator[Finding]:
    """A hint for each action that is allowed, and would fail for the rights of the user who asks."""
    if (unlimited := _memory(settings, machine)) is not None:
        yield Finding("warn", f"{unlimited.what}: {unlimited.why}", unlimited.remedy)
    if UnitActions().usable():  # what is left runs outside the agent, with the rights that it needs
        yield from _lacking(settings, machine, {"gpio.write": _pins})
        return
    looks: dict[str, Look] = {
        "gpio.write": _pins,
        "identify": _led,
        "logs": _journal,
        "reboot": _systemctl,
    }
    yield from _lacking(settings, machine, looks)


def _lacking(settings: Settings, machine: Machine, looks: Mapping[str, Look]) -> Iterator[Finding]:
    for name, look in looks.items():
        if any(fnmatchcase(name, pattern) for pattern in settings.commands.allow) and (error := look(settings, machine)):
            yield Finding("warn", f"{error.what}: {error.why}", error.remedy)


def _pins(settings: Settings, machine: Machine) -> EdgeError | None:
    return gpio.means(machine) if settings.gpio.pins else None


def _led(settings: Settings, machine: Machine) -> EdgeError | None:
    led = identify.led_of(machine)
    if led is None or all(os.access(led / name, os.W_OK) for name in ("trigger", "brightness")):
        return None  # most machines have none, and `identify` says so
    return Failed("identify", f"this user may not write to {led}", f"{identify.RULES} lets the user edgeagent")


def _journal(settings: Settings, machine: Machine) -> EdgeError | None:
    """journald keeps it in one of two folders, a folder a machine (systemd-journald.service(8))."""
    folders = [machine.path(folder) for folder in ("/var/log/journal", "/run/log/journal")]
    journals = [file for folder in folders for file in folder.glob("*/system.journal")]
    if not journals or any(os.access(file, os.R_OK) for file in journals):
        return None
    return Failed("read logs", f"this user may not read {journals[0]}", f"`{JOURNAL_GROUP}` lets the user edgeagent")


def _systemctl(settings: Settings, machine: Machine) -> EdgeError | None:
    program = settings.service.systemctl
    if machine.path(program).is_file():
        return None
    return Failed("reboot", f"there is no {program}", "name it in `service.systemctl`")


def _memory(settings: Settings, machine: Machine) -> EdgeError | None:
    """Raspberry Pi OS keeps the kernel's controller of memory off unless its command line asks for it."""
    controllers = machine.text("/sys/fs/cgroup/cgroup.controllers")
    limited = [name for name, limits in settings.actions.items() if limits.memory_max]
    if not limited or controllers is None or "memory" in controllers.split():
        return None
    remedy = "add `cgroup_enable=memory` to the line in /boot/firmware/cmdline.txt and reboot"
    return Failed(f"limit the memory of {', '.join(limited)}", "the kernel's memory controller is switched off", remedy)
