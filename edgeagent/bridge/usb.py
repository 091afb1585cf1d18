"""Which serial ports are plugged in, as sysfs has it; nothing is opened.

A microcontroller is known by its USB device's serial number, or by the path that its owner named, and never by its ``ttyACM`` number: that
goes to whichever is plugged in first. Attributes: Linux, Documentation/ABI/stable/sysfs-bus-usb; how a port leads to its USB device is as in
pyserial's ``list_ports_linux``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgeagent.machine import Machine

__all__ = ["Ports", "UsbPort"]

_CLASS = "/sys/class/tty"
#: Ports of the kernel's drivers cdc_acm and usb-serial.
_DRIVERS = ("ttyACM", "ttyUSB")
#: How far above the port's own folder its USB device is at most: the port of usb-serial, the interface, the device.
_STEPS = 3


class UsbPort(NamedTuple):
    """name: of the port now, ``ttyACM0``. usb: vendor and product, ``2e8a:0005``. serial_number: empty where it has none.
    what: it calls itself, for people. device: the folder of the USB device: two ports may be of one."""

    name: str
    usb: str
    serial_number: str
    what: str
    interface: str
    device: str

    @property
    def path(self) -> str:
        return f"/dev/{self.name}"

    @property
    def key(self) -> str:
        """How to name it: ``2e8a:0005:E6614C311B7E6F2A``."""
        return f"{self.usb}:{self.serial_number}" if self.serial_number else self.usb


class Ports:
    """The serial ports of ``machine``. What is read of each is kept while it is there."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: dict[tuple[str, int], UsbPort | None] = {}

    def usb(self) -> list[UsbPort]:
        """Those on USB that are plugged in now; of one device the first interface first."""
        self._known = {key: self._known[key] if key in self._known else self._read(key[0]) for key in self._there()}
        return sorted((port for port in self._known.values() if port), key=lambda port: (port.device, port.interface, port.name))

    def resolve(self, path: str) -> str | None:
        """The character device that ``path`` leads to now, as it is below the machine's root; None: it leads to none."""
        try:
            found = self._machine.path(path).resolve(strict=True)
            return str(found) if stat.S_ISCHR(found.stat().st_mode) else None
        except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
            return None

    def _there(self) -> Iterator[tuple[str, int]]:
        """Name and inode of each: the same name on another inode is another device, or the same one plugged in again."""
        folder = self._machine.path(_CLASS)
        try:
            names = [name for name in os.listdir(folder) if name.startswith(_DRIVERS)]  # noqa: PTH208 - names are all that is wanted
        except OSError:
            return
        for name in names:
            try:
                yield name, (folder / name).stat().st_ino
            except OSError:
                continue  # it was unplugged meanwhile

    def _read(self, name: str) -> UsbPort | None:
        at = self._machine.path(f"{_CLASS}/{name}/device").resolve()
        interface = ""
        for folder in (at, *at.parents[:_STEPS]):
            interface = interface or _text(folder / "bInterfaceNumber")
            vendor, product = _text(folder / "idVendor"), _text(folder / "idProduct")
            if vendor and product:
                what = " ".join(filter(None, (_text(folder / "manufacturer"), _text(folder / "product"))))
                return UsbPort(name, f"{vendor}:{product}".lower(), _text(folder / "serial"), what, interface, str(folder))
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
