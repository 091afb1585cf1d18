"""What is plugged in, as sysfs has it."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.bridge.usb import Ports
from edgeagent.machine import Machine
from tests.support.fakeroot import FakeRoot
from tests.support.fakeusb import plug, unplug


@pytest.fixture
def root(tmp_path: Path) -> FakeRoot:
    root = FakeRoot(tmp_path / "root")
    for name in ("tty0", "ttyAMA0", "ttyS0"):
        root.folder_at(f"/sys/class/tty/{name}/device")
    return root


@pytest.fixture
def terminal() -> Iterator[str]:
    fds = pty.openpty()
    yield os.ttyname(fds[1])
    for each in fds:
        os.close(each)


def test_ports_of_both_drivers(root: FakeRoot) -> None:
    plug(root, "ttyACM0", serial="E6614C311B7E6F2A", at="1-1.2")
    plug(root, "ttyUSB0", usb="10C4:EA60", at="1-1.3", product="CP2102N")
    acm, converter = Ports(root.machine).usb()
    assert (acm.path, acm.usb, acm.serial_number, acm.key) == (
        "/dev/ttyACM0",
        "2e8a:0005",
        "E6614C311B7E6F2A",
        "2e8a:0005:E6614C311B7E6F2A",
    )
    assert acm.what == "MicroPython Board in FS mode"
    assert (converter.path, converter.key) == ("/dev/ttyUSB0", "10c4:ea60")


def test_two_ports_of_one_device_begin_with_the_first_interface(root: FakeRoot) -> None:
    plug(root, "ttyACM0", serial="A", interface="02")
    plug(root, "ttyACM1", serial="A", interface="00")
    assert [port.name for port in Ports(root.machine).usb()] == ["ttyACM1", "ttyACM0"]


def test_the_same_name_is_another_device_when_it_was_plugged_in_again(root: FakeRoot) -> None:
    ports = Ports(root.machine)
    plug(root, "ttyACM0", serial="A")
    (before,) = ports.usb()
    kept = root.machine.path("/sys/class/tty/ttyACM0").resolve()
    kept.rename(kept.with_name("gone"))  # so that its inode is not given to the next one
    root.remove("/sys/class/tty/ttyACM0")
    assert ports.usb() == []
    plug(root, "ttyACM0", serial="B", at="1-1.3")
    (after,) = ports.usb()
    assert (before.serial_number, after.serial_number) == ("A", "B")


def test_what_is_read_is_kept_and_forgotten_with_the_port(root: FakeRoot) -> None:
    ports = Ports(root.machine)
    plug(root, "ttyACM0", serial="A")
    (first,) = ports.usb()
    assert ports.usb()[0] is first
    unplug(root, "ttyACM0")
    assert ports.usb() == [] and ports._known == {}


def test_a_port_without_a_usb_device_and_no_sysfs(root: FakeRoot, tmp_path: Path) -> None:
    root.folder_at("/sys/class/tty/ttyACM9")
    assert Ports(root.machine).usb() == []
    assert Ports(Machine(tmp_path / "none")).usb() == []


def test_paths(root: FakeRoot, terminal: str) -> None:
    ports = Ports(root.machine)
    plug(root, "ttyACM0", terminal)
    root.link("/dev/serial/by-id/usb-pico", "/dev/ttyACM0").link("/dev/a", "/dev/b").link("/dev/b", "/dev/a")
    assert ports.resolve("/dev/serial/by-id/usb-pico") == terminal
    root.write("/dev/file")
    assert [ports.resolve(path) for path in ("/dev/none", "/dev/file", "/dev/a")] == [None, None, None]
