"""The mount table, as far as the root file system is concerned."""

from __future__ import annotations

import re
from typing import NamedTuple

from edgeagent.machine import Machine

__all__ = ["Mount", "parse", "root", "root_disk", "table"]


class Mount(NamedTuple):
    """device: ``major:minor`` of the block device, ``0:…`` for a file system without one. options: of the mount and of the
    file system."""

    point: str
    device: str
    kind: str
    source: str
    options: frozenset[str]


def parse(mountinfo: str) -> list[Mount]:
    """The lines of /proc/self/mountinfo (proc_pid_mountinfo(5)), in their order: a later mount covers an earlier one."""
    mounts = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split(" ")
        if len(left) >= 6 and len(right) >= 2:
            options = f"{left[5]},{right[2] if len(right) > 2 else ''}".split(",")
            mounts.append(Mount(_unescape(left[4]), left[2], right[0], _unescape(right[1]), frozenset(options)))
    return mounts


def _unescape(text: str) -> str:
    # The kernel writes white space and backslashes as three octal digits.
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def table(machine: Machine) -> list[Mount]:
    return parse(machine.text("/proc/self/mountinfo") or "")


def root(mounts: list[Mount]) -> Mount | None:
    """What is mounted at ``/``."""
    return _at(mounts, "/")


def root_disk(mounts: list[Mount]) -> Mount | None:
    """The mount of the disk behind ``/``: under an overlay (raspi-config's read-only mode, overlayroot) its lowest layer."""
    top = root(mounts)
    if top is None or top.kind != "overlay":
        return top
    lower = next((option.partition("=")[2] for option in top.options if option.startswith("lowerdir=")), "")
    return _at(mounts, lower.rpartition(":")[2]) or top


def _at(mounts: list[Mount], point: str) -> Mount | None:
    return next((mount for mount in reversed(mounts) if mount.point == point), None)
