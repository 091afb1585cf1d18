"""A fake root of a Raspberry Pi, with what its kernel, firmware and Raspberry Pi OS put into /proc, /sys and /etc.

``pi_4(folder)``, ``pi_5(folder)`` and ``zero_2w(folder)`` make one; ``write``, ``link`` and ``remove`` vary it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from edgeagent import registry
from edgeagent.builtin import facts as builtin_facts
from edgeagent.machine import Machine

__all__ = ["FakeRoot", "facts_of", "pi_4", "pi_5", "zero_2w"]

BOOT_ID = "0f0e3c9a-4a3e-4f3b-9d3c-2b1a09f8e7d6"

# The first bytes of a program: ELF, then its class (2 = 64-bit, 1 = 32-bit), little-endian, version.
ELF_64 = b"\x7fELF\x02\x01\x01" + bytes(9)
ELF_32 = b"\x7fELF\x01\x01\x01" + bytes(9)

BOOKWORM = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
"""

RASPBIAN = BOOKWORM.replace("Debian GNU/Linux", "Raspbian GNU/Linux").replace("ID=debian", "ID=raspbian\nID_LIKE=debian")

MEMINFO = """\
MemTotal:        {total} kB
MemFree:          102400 kB
MemAvailable:    {available} kB
Buffers:           61404 kB
Cached:           715008 kB
SwapCached:            0 kB
SwapTotal:       {swap} kB
SwapFree:        {swap} kB
HugePages_Total:       0
"""

WIRELESS = """\
Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   {quality}.  {level}.  -256        0      0      0      0      0        0
"""

ROUTE_HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
     +-- {network}/24 2 0 2
        |-- {network}
           /24 link UNICAST
        |-- {address}
           /32 host LOCAL
        |-- 192.168.1.255
           /32 link BROADCAST
Local:
  +-- 0.0.0.0/0 3 0 5
        |-- 127.0.0.1
           /32 host LOCAL
        |-- {address}
           /32 host LOCAL
"""


def cell(number: int) -> bytes:
    """A device tree property of one cell."""
    return number.to_bytes(4, "big")


def facts_of(machine: Machine) -> dict[str, Any]:
    """Everything that the built-in providers say of ``machine``, by dotted name."""
    assert builtin_facts.__path__, "importing the package registers them"
    found: dict[str, Any] = {}
    for provider in registry.fact_providers():
        found.update(provider.read(machine))
    return found


class FakeRoot:
    """A folder that stands for ``/``. All paths are absolute; symlinks are made relative, so that they stay inside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machine = Machine(folder)

    def write(self, path: str, content: str | bytes = "") -> FakeRoot:
        """Make a file, and the folders above it; text gets the newline that the kernel ends it with."""
        at = self.machine.path(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content if isinstance(content, bytes) else (content.rstrip("\n") + "\n").encode())
        return self

    def property(self, path: str, content: str | bytes) -> FakeRoot:
        """Make a device tree property: texts end with a NUL byte."""
        return self.write(f"/proc/device-tree/{path}", content if isinstance(content, bytes) else content.encode() + b"\0")

    def folder_at(self, path: str) -> FakeRoot:
        self.machine.path(path).mkdir(parents=True, exist_ok=True)
        return self

    def link(self, path: str, target: str) -> FakeRoot:
        """A symlink at ``path`` to the absolute path ``target`` of the fake root."""
        at = self.machine.path(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.unlink(missing_ok=True)
        at.symlink_to(os.path.relpath(self.machine.path(target), at.parent))
        return self

    def remove(self, path: str) -> FakeRoot:
        at = self.machine.path(path)
        if at.is_dir() and not at.is_symlink():
            shutil.rmtree(at)
        else:
            at.unlink()
        return self

    def block_device(self, sysfs: str, number: str, **attributes: str) -> FakeRoot:
        """A disk or partition at ``/sys/devices/<sysfs>`` with its two links; attributes: files in it, ``__`` stands for ``/``."""
        folder = f"/sys/devices/{sysfs}"
        self.folder_at(folder)
        for name, content in attributes.items():
            self.write(f"{folder}/{name.replace('__', '/')}", content)
        return self.link(f"/sys/dev/block/{number}", folder).link(f"/sys/class/block/{sysfs.rpartition('/')[2]}", folder)

    def root_on(self, number: str, source: str, options: str = "rw,noatime", kind: str = "ext4") -> FakeRoot:
        return self.write(
            "/proc/self/mountinfo", f"{_PROC_MOUNT}29 1 {number} / / {options} shared:1 - {kind} {source} {options[:2]}\n"
        )

    def interface(self, name: str, mac: str, device: str = "") -> FakeRoot:
        """A network interface; device: where its hardware is below /sys/devices, empty = it has none."""
        folder = f"/sys/devices/{device or 'virtual'}/net/{name}"
        self.write(f"{folder}/address", mac).write(f"{folder}/type", "772" if name == "lo" else "1")
        if device:
            self.link(f"{folder}/device", f"/sys/devices/{device}")
        return self.link(f"/sys/class/net/{name}", folder)


_PROC_MOUNT = "21 29 0:19 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw\n"


def cpuinfo(part: str, *, serial: str, revision: str, model: str, cores: int = 4) -> str:
    """/proc/cpuinfo of an Arm kernel."""
    core = f"BogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n"
    cores_text = "".join(f"processor\t: {number}\n{core}\n" for number in range(cores))
    return f"{cores_text}Revision\t: {revision}\nSerial\t\t: {serial}\nModel\t\t: {model}\n"


def _common(root: FakeRoot, *, model: str, serial: str, part: str, revision: str, kernel: str, soc: str) -> FakeRoot:
    root.property("model", model).property("serial-number", serial).property("compatible", f"raspberrypi,board\0brcm,{soc}")
    root.write("/proc/cpuinfo", cpuinfo(part, serial=serial, revision=revision, model=model))
    root.write("/sys/devices/system/cpu/online", "0-3").write("/proc/loadavg", "0.52 0.48 0.40 1/213 4711")
    root.write("/proc/uptime", "86461.27 340120.11").write("/proc/stat", "cpu  1 2 3 4\nbtime 1767225600\nprocesses 4711")
    root.write("/proc/sys/kernel/osrelease", kernel).write("/proc/sys/kernel/arch", "aarch64")
    root.write("/proc/sys/kernel/random/boot_id", BOOT_ID)
    root.write("/etc/os-release", BOOKWORM).write("/usr/bin/env", ELF_64)
    root.folder_at(f"/lib/modules/{kernel}/kernel")
    root.write("/usr/share/zoneinfo/Europe/Berlin", b"TZif2").link("/etc/localtime", "/usr/share/zoneinfo/Europe/Berlin")
    root.write("/run/systemd/timesync/synchronized")
    root.interface("lo", "00:00:00:00:00:00")
    thermal = "/sys/devices/virtual/thermal/thermal_zone0"
    root.write(f"{thermal}/type", "cpu-thermal").write(f"{thermal}/temp", "48686").link(
        "/sys/class/thermal/thermal_zone0", thermal
    )
    root.folder_at("/sys/devices/virtual/thermal/cooling_device0")
    root.link("/sys/class/thermal/cooling_device0", "/sys/devices/virtual/thermal/cooling_device0")
    root.write("/sys/class/watchdog/watchdog0/bootstatus", "0")
    return root


def _hwmon(root: FakeRoot) -> None:
    root.write("/sys/class/hwmon/hwmon0/name", "cpu_thermal").write("/sys/class/hwmon/hwmon0/temp1_input", "48686")
    root.write("/sys/class/hwmon/hwmon1/name", "rpi_volt").write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0")


def _sd_card(root: FakeRoot, host: str, model: str) -> None:
    disk = f"platform/{host}/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0"
    root.block_device(disk, "179:0", device__type="SD", device__name=model, queue__rotational="0")
    root.block_device(f"{disk}/mmcblk0p2", "179:2", partition="2").root_on("179:2", "/dev/mmcblk0p2")


def _wired(root: FakeRoot, interface: str, mac: str, device: str, address: str) -> None:
    network = address.rpartition(".")[0] + ".0"
    root.interface(interface, mac, device)
    root.write("/proc/net/fib_trie", FIB_TRIE.format(network=network, address=address))
    little = "".join(f"{int(part):02X}" for part in reversed(network.split(".")))
    default = f"{interface}\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    root.write("/proc/net/route", f"{ROUTE_HEADER}{default}{interface}\t{little}\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n")
    root.write(
        "/proc/net/if_inet6",
        f"fe80000000000000dea632fffe010203 02 40 20 80     {interface}\n"
        f"fd001234000000000000000000000010 02 40 00 80     {interface}\n"
        f"fd001234000000000123456789abcdef 02 40 00 01     {interface}\n"
        "00000000000000000000000000000001 01 80 10 80       lo\n",
    )


def _wireless(root: FakeRoot, mac: str, *, quality: int = 54, level: int = -56) -> None:
    root.interface("wlan0", mac, "platform/soc/fe300000.mmcnr/mmc_host/mmc1/mmc1:0001/mmc1:0001:1")
    root.write("/proc/net/wireless", WIRELESS.format(quality=quality, level=level))


def pi_4(folder: Path, hostname: str = "shop-07") -> FakeRoot:
    """A Raspberry Pi 4 with 4 GB on an SD card, Raspberry Pi OS 64-bit, wired and wireless."""
    root = _common(
        FakeRoot(folder),
        model="Raspberry Pi 4 Model B Rev 1.4",
        serial="10000000a1b2c3d4",
        part="0xd08",
        revision="c03114",
        kernel="6.12.25+rpt-rpi-v8",
        soc="bcm2711",
    )
    root.write("/proc/sys/kernel/hostname", hostname)
    root.write("/proc/meminfo", MEMINFO.format(total=3884324, available=2913243, swap=524272))
    root.property("chosen/bootloader/rsts", cell(0x20))
    _hwmon(root)
    _sd_card(root, "emmc2bus/fe340000.mmc", "SC32G")
    _wired(root, "eth0", "dc:a6:32:01:02:03", "platform/scb/fd580000.ethernet", "192.168.1.20")
    _wireless(root, "dc:a6:32:01:02:04")
    failed = {"version": "0.3.0", "why": "its agent ended after 60 s", "at": "2026-11-22T10:00:00Z"}
    root.write("/opt/edgeagent/upgrade.json", json.dumps({"before": "0.1.0", "failed": failed}))
    root.write("/opt/edgeagent/trial.json", json.dumps({"id": "01J", "version": "0.4.0"}))
    return root


def pi_5(folder: Path, hostname: str = "press-2") -> FakeRoot:
    """A Raspberry Pi 5 with 8 GB on an NVMe disk, its power cut by its controller for want of voltage before this boot."""
    root = _common(
        FakeRoot(folder),
        model="Raspberry Pi 5 Model B Rev 1.0",
        serial="2e7a6b5c4d3e2f10",
        part="0xd0b",
        revision="d04170",
        kernel="6.12.25+rpt-rpi-2712",
        soc="bcm2712",
    )
    root.write("/proc/sys/kernel/hostname", hostname)
    root.write("/proc/meminfo", MEMINFO.format(total=8256512, available=7430861, swap=2097136))
    root.property("chosen/bootloader/rsts", cell(0x1000)).property("chosen/power/power_reset", cell(0x2))
    _hwmon(root)
    disk = "platform/axi/1000110000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/nvme/nvme0/nvme0n1"
    root.block_device(disk, "259:0", device__model="WD_BLACK SN770M 1TB                     ", queue__rotational="0")
    root.block_device(f"{disk}/nvme0n1p2", "259:2", partition="2").root_on("259:2", "/dev/nvme0n1p2")
    _wired(root, "eth0", "2c:cf:67:0a:0b:0c", "platform/axi/1000120000.pcie/1f00100000.ethernet", "192.168.1.52")
    return root


def zero_2w(folder: Path, hostname: str = "raspberrypi") -> FakeRoot:
    """A Zero 2 W as it is flashed: 32-bit programs on a 64-bit kernel, wireless only, on a weak link."""
    root = _common(
        FakeRoot(folder),
        model="Raspberry Pi Zero 2 W Rev 1.0",
        serial="00000000f00dcafe",
        part="0xd03",
        revision="902120",
        kernel="6.6.51+rpt-rpi-v8",
        soc="bcm2837",
    )
    root.write("/proc/sys/kernel/hostname", hostname).write("/etc/os-release", RASPBIAN).write("/usr/bin/env", ELF_32)
    root.write("/proc/meminfo", MEMINFO.format(total=427860, available=171144, swap=102396))
    root.property("chosen/bootloader/rsts", cell(0x1000))
    _hwmon(root)
    _sd_card(root, "soc/3f202000.mmc", "SL16G")
    _wired(root, "wlan0", "d8:3a:dd:11:22:33", "platform/soc/3f300000.mmcnr/mmc_host/mmc1/mmc1:0001/mmc1:0001:1", "192.168.1.99")
    root.write("/proc/net/wireless", WIRELESS.format(quality=21, level=-84))
    return root
