"""What a block device is made of, out of sysfs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgeagent.builtin._kernel import children
from edgeagent.machine import Machine

__all__ = ["Disk", "disks", "find"]


class Disk(NamedTuple):
    """kind: ``sd``, ``emmc``, ``nvme``, ``usb``, ``ssd``, ``hdd`` or ``virtual``. model: None if the device has none."""

    device: str
    kind: str
    model: str | None


def find(machine: Machine, number: str, source: str) -> Disk | None:
    """The whole disk behind the device ``number`` (``major:minor``) or else the path ``source``; None if sysfs has neither."""
    folder = _folder(machine, f"/sys/dev/block/{number}") or _folder(machine, f"/sys/class/block/{Path(source).name}")
    if folder is None:
        return None
    folder = _whole_disk(machine, folder)
    model = _text(folder / "device/model") or (_text(folder / "device/name") if folder.name.startswith("mmcblk") else None)
    return Disk(folder.name, _kind(folder), model)


def _folder(machine: Machine, absolute: str) -> Path | None:
    # Everything in these two folders is a symlink into /sys/devices, whose path tells the bus.
    path = machine.path(absolute)
    return path.resolve() if path.exists() else None


def _whole_disk(machine: Machine, folder: Path) -> Path:
    """From a partition to its disk; from LVM, LUKS or RAID down to the first disk that it lies on."""
    slaves = sorted((folder / "slaves").iterdir()) if (folder / "slaves").is_dir() else []
    if slaves:
        return _whole_disk(machine, slaves[0].resolve())
    return folder.parent if (folder / "partition").exists() else folder


def _kind(folder: Path) -> str:
    name = folder.name
    if name.startswith("mmcblk"):
        return "emmc" if _text(folder / "device/type") == "MMC" else "sd"
    if name.startswith("nvme"):
        return "nvme"
    if "/virtual/" in str(folder) or name.startswith(("vd", "xvd")):
        return "virtual"
    if any(part.startswith("usb") for part in folder.parts):
        return "usb"
    return "hdd" if _text(folder / "queue/rotational") == "1" else "ssd"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def disks(machine: Machine) -> list[str]:
    """The names of the whole disks that are hardware, sorted: no partitions, no loop, RAM or mapped devices, no boot areas of an eMMC."""
    found = []
    for path in children(machine, "/sys/class/block"):
        folder = machine.path(path).resolve()
        boot_area = folder.name.startswith("mmcblk") and "boot" in folder.name
        if not boot_area and "virtual" not in folder.parts and not (folder / "partition").exists():
            found.append(folder.name)
    return found
