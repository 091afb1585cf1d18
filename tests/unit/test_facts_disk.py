from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.builtin import _mounts
from tests.support import fakeroot
from tests.support.fakeroot import FakeRoot, facts_of


@pytest.fixture
def pi(tmp_path: Path) -> FakeRoot:
    return fakeroot.pi_4(tmp_path)


def kind(pi: FakeRoot) -> tuple[object, object]:
    found = facts_of(pi.machine)
    return found.get("disk.kind"), found.get("disk.device")


def test_emmc(pi: FakeRoot) -> None:
    pi.write("/sys/class/block/mmcblk0/device/type", "MMC")
    assert kind(pi) == ("emmc", "mmcblk0")


def test_usb_hard_disk_and_solid_state_disk(pi: FakeRoot) -> None:
    usb = "platform/scb/fd500000.pcie/usb2/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sda"
    pi.block_device(usb, "8:0", device__model="Elements").block_device(f"{usb}/sda2", "8:2", partition="2").root_on(
        "8:2", "/dev/sda2"
    )
    assert kind(pi) == ("usb", "sda")
    for rotational, expected in (("1", "hdd"), ("0", "ssd")):
        sata = f"pci0000:00/ata{rotational}/host1/block/sdb"
        pi.block_device(sata, f"8:1{rotational}", queue__rotational=rotational).root_on(f"8:1{rotational}", "/dev/sdb")
        assert kind(pi) == (expected, "sdb")


def test_virtual_disks(pi: FakeRoot) -> None:
    pi.block_device("pci0000:00/virtio1/block/vda", "254:0").root_on("254:0", "/dev/vda")
    assert kind(pi) == ("virtual", "vda")


def test_encrypted_root_is_followed_down_to_the_card(pi: FakeRoot) -> None:
    pi.block_device("virtual/block/dm-0", "253:0")
    card = pi.machine.path("/sys/class/block/mmcblk0p2").resolve()
    pi.link("/sys/devices/virtual/block/dm-0/slaves/mmcblk0p2", "/" + str(card.relative_to(pi.folder.resolve())))
    assert kind(pi.root_on("253:0", "/dev/mapper/crypt")) == ("sd", "mmcblk0")


def test_btrfs_has_no_device_number_so_its_source_tells(pi: FakeRoot) -> None:
    assert kind(pi.root_on("0:25", "/dev/mmcblk0p2", kind="btrfs")) == ("sd", "mmcblk0")


def test_network_root_has_no_disk(pi: FakeRoot) -> None:
    found = facts_of(pi.root_on("0:25", "10.0.0.1:/srv/pi", kind="nfs4").machine)
    assert found["disk.filesystem"] == "nfs4"
    assert "disk.kind" not in found


def test_overlay_root(pi: FakeRoot) -> None:
    lines = [
        "29 1 0:30 / / rw,relatime shared:1 - overlay overlayroot rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay",
        "30 29 179:2 / /media/root-ro ro,relatime shared:2 - ext4 /dev/mmcblk0p2 ro",
    ]
    found = facts_of(pi.write("/proc/self/mountinfo", "\n".join(lines)).machine)
    assert (found["overlay_root"], found["readonly_root"], found["disk.filesystem"]) == (True, False, "overlay")
    assert (found["disk.kind"], found["disk.device"]) == ("sd", "mmcblk0")


def test_read_only_root(pi: FakeRoot) -> None:
    assert facts_of(pi.root_on("179:2", "/dev/mmcblk0p2", "ro,noatime").machine)["readonly_root"] is True


def test_file_system_gone_read_only_after_errors_is_read_only() -> None:
    # Remounted by the kernel itself: the mount's own options still say rw.
    mounts = _mounts.parse("29 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 ro,errors=remount-ro\n")
    root = _mounts.root(mounts)
    assert root is not None
    assert "ro" in root.options


def test_mount_points_are_unescaped_and_the_last_mount_counts() -> None:
    mounts = _mounts.parse(
        "1 0 8:1 / /a\\040b rw - ext4 /dev/sda1 rw\n2 1 8:1 / / rw - ext4 /dev/sda1 rw\n3 2 8:2 / / rw - xfs /dev/sda2 rw\n\nrubbish"
    )
    assert mounts[0].point == "/a b"
    root = _mounts.root(mounts)
    assert root is not None
    assert root.kind == "xfs"
