"""Whether this is a machine of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.machine import Machine
from edgeagent.registry import Field, facts

#: What the firmware of a virtual machine calls its maker, as systemd-detect-virt(1) reads it (src/basic/virt.c).
_VENDORS = (("QEMU", "qemu"), ("VMware", "vmware"), ("innotek GmbH", "oracle"), ("Xen", "xen"), ("Amazon EC2", "amazon"))


@facts(
    "virtualization",
    Field(
        "virtualization",
        "string",
        "The container or virtual machine that the agent runs in (`docker`, `podman`, `lxc`, `qemu`, `vm`, …), `none` on a machine of its own.",
    ),
)
def read(machine: Machine) -> Mapping[str, Any]:
    return {"virtualization": _container(machine) or _virtual_machine(machine) or "none"}


def _container(machine: Machine) -> str | None:
    # systemd tells in the file which container it was started in; the other two are the engines' own marks.
    if machine.path("/.dockerenv").exists():
        return "docker"
    if machine.path("/run/.containerenv").exists():
        return "podman"
    return machine.text("/run/systemd/container") or None


def _virtual_machine(machine: Machine) -> str | None:
    vendor = machine.text("/sys/class/dmi/id/sys_vendor") or ""
    for name, kind in _VENDORS:
        if vendor.startswith(name):
            return kind
    if machine.path("/proc/device-tree/hypervisor").exists():
        return "vm"
    info = machine.text("/proc/cpuinfo") or ""
    return "vm" if any(line.startswith("flags") and " hypervisor" in line for line in info.splitlines()) else None
