"""USB devices with serial ports in a fake root, as sysfs shows them, whose ports lead to pseudo-terminals."""

from __future__ import annotations

from pathlib import Path

from tests.support.fakeroot import FakeRoot

__all__ = ["PICO", "plug", "unplug"]

PICO = "2e8a:0005"


def plug(
    root: FakeRoot,
    name: str,
    target: str = "",
    *,
    usb: str = PICO,
    serial: str = "",
    at: str = "1-1.2",
    interface: str = "00",
    product: str = "Board in FS mode",
) -> None:
    """name: of the port, ``ttyACM0``. target: what /dev/NAME leads to; empty: it is a plain file. at: the USB socket."""
    device = f"/sys/devices/platform/scb/usb1/1-1/{at}"
    inner = f"{device}/{at}:1.{int(interface, 16)}"
    root.write(f"{device}/idVendor", usb[:4]).write(f"{device}/idProduct", usb[5:]).write(f"{device}/product", product)
    root.write(f"{device}/manufacturer", "MicroPython").write(f"{inner}/bInterfaceNumber", interface)
    if serial:
        root.write(f"{device}/serial", serial)
    port = f"{inner}/{name}" if name.startswith("ttyUSB") else inner
    root.folder_at(f"{port}/tty/{name}").link(f"{port}/tty/{name}/device", port).link(
        f"/sys/class/tty/{name}", f"{port}/tty/{name}"
    )
    node = root.machine.path(f"/dev/{name}")
    node.parent.mkdir(parents=True, exist_ok=True)
    if target:
        node.unlink(missing_ok=True)
        node.symlink_to(Path(target))
    else:
        node.touch()


def unplug(root: FakeRoot, name: str, at: str = "1-1.2") -> None:
    root.remove(f"/sys/class/tty/{name}").remove(f"/sys/devices/platform/scb/usb1/1-1/{at}").remove(f"/dev/{name}")
