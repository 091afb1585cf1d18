"""The disk that holds the root file system."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from edgeagent.builtin import _block, _mounts
from edgeagent.builtin._kernel import present
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts


@facts(
    "disk",
    Field("disk.total_bytes", "int", "Size of the root file system; with an overlay, of the writable layer in memory."),
    Field("disk.free_bytes", "int", "What programs may still write to the root file system.", volatile=True),
    Field(
        "disk.utilization", "double", "Share of the root file system that is used, 0 to 1, reckoned as df(1) does.", volatile=True
    ),
    Field("disk.filesystem", "string", "The file system at `/` (`ext4`, `btrfs`, `overlay`)."),
    Field("disk.device", "string", "The disk that `/` lies on (`mmcblk0`); with an overlay, the one below it."),
    Field("disk.kind", "string", "What that disk is: `sd`, `emmc`, `nvme`, `usb`, `ssd`, `hdd` or `virtual`."),
    Field("disk.model", "string", "The name that the disk gives itself (`SC32G`)."),
)
def read(machine: Machine) -> Mapping[str, Any]:
    return {**_space(machine), **_medium(machine)}


def _space(machine: Machine) -> dict[str, Any]:
    try:
        space = os.statvfs(machine.path("/"))
    except OSError:
        return {}
    used, free = space.f_blocks - space.f_bfree, space.f_bavail
    if not used + free:
        return {}
    return {
        "disk.total_bytes": space.f_blocks * space.f_frsize,
        "disk.free_bytes": free * space.f_frsize,
        "disk.utilization": round(used / (used + free), 4),
    }


def _medium(machine: Machine) -> dict[str, Any]:
    mounts = _mounts.table(machine)
    root, mount = _mounts.root(mounts), _mounts.root_disk(mounts)
    if root is None or mount is None:
        return {}
    disk = _block.find(machine, mount.device, mount.source)
    if disk is None:
        return {"disk.filesystem": root.kind}
    return present({"disk.filesystem": root.kind, "disk.device": disk.device, "disk.kind": disk.kind, "disk.model": disk.model})
