"""What the built-in providers say of three boards and of their variations."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edgeagent.builtin._kernel import cpu_list_length
from edgeagent.builtin.facts import clock, cpu, network, system, wifi
from edgeagent.builtin.facts.reboot_required import newer_kernel
from edgeagent.machine import Machine
from tests.support import fakeroot
from tests.support.fakeroot import FakeRoot, facts_of


@pytest.fixture
def pi(tmp_path: Path) -> FakeRoot:
    return fakeroot.pi_4(tmp_path)


def test_pi_4(pi: FakeRoot) -> None:
    expected = {
        "model": "Raspberry Pi 4 Model B Rev 1.4",
        "serial": "10000000a1b2c3d4",
        "os.name": "debian",
        "os.version": "12",
        "os.pretty": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.12.25+rpt-rpi-v8",
        "architecture": "aarch64",
        "userland_bits": 64,
        "hostname": "shop-07",
        "cpu.count": 4,
        "cpu.model": "Cortex-A72",
        "cpu.load_1m": 0.52,
        "memory.total_bytes": 3884324 * 1024,
        "memory.available_bytes": 2913243 * 1024,
        "memory.utilization": 0.25,
        "swap.total_bytes": 524272 * 1024,
        "disk.filesystem": "ext4",
        "disk.device": "mmcblk0",
        "disk.kind": "sd",
        "disk.model": "SC32G",
        "addresses": ["192.168.1.20", "fd00:1234::10"],
        "interfaces": {
            "eth0": {"mac": "dc:a6:32:01:02:03", "addresses": ["192.168.1.20", "fd00:1234::10"]},
            "wlan0": {"mac": "dc:a6:32:01:02:04", "addresses": []},
        },
        "mac": "dc:a6:32:01:02:03",
        "wifi.interface": "wlan0",
        "wifi.signal_dbm": -56,
        "wifi.link_quality": 0.77,
        "temperature_celsius": 48.7,
        "uptime_seconds": 86461.27,
        "boot.id": fakeroot.BOOT_ID,
        "boot.time": "2026-01-01T00:00:00.000Z",
        "boot.reason": "reset",
        "clock.synchronized": True,
        "clock.timezone": "Europe/Berlin",
        "reboot_required": False,
        "readonly_root": False,
        "overlay_root": False,
        "virtualization": "none",
    }
    found = facts_of(pi.machine)
    assert {name: found.get(name) for name in expected} == expected


def test_pi_5(tmp_path: Path) -> None:
    found = facts_of(fakeroot.pi_5(tmp_path).machine)
    assert (found["cpu.model"], found["disk.kind"], found["disk.model"]) == ("Cortex-A76", "nvme", "WD_BLACK SN770M 1TB")
    assert found["boot.reason"] == "undervoltage"
    assert not [name for name in found if name.startswith("wifi.")]


def test_zero_2w(tmp_path: Path) -> None:
    found = facts_of(fakeroot.zero_2w(tmp_path).machine)
    assert (found["os.name"], found["architecture"], found["userland_bits"]) == ("raspbian", "aarch64", 32)
    assert (found["mac"], found["wifi.signal_dbm"], found["boot.reason"]) == ("d8:3a:dd:11:22:33", -84, "power-on")


def test_the_running_machine_agrees_with_the_system() -> None:
    found = facts_of(Machine())
    assert found["kernel"] == os.uname().release
    assert found["hostname"] == socket.gethostname()
    assert found["cpu.count"] == os.cpu_count()
    space = os.statvfs("/")
    assert found["disk.total_bytes"] == space.f_blocks * space.f_frsize
    assert isinstance(found["clock.synchronized"], bool)


@pytest.mark.parametrize(
    ("running", "installed", "expected"),
    [
        ("6.12.25+rpt-rpi-v8", ["6.12.25+rpt-rpi-v8", "6.12.34+rpt-rpi-v8"], True),
        ("6.12.25+rpt-rpi-v8", ["6.12.34+rpt-rpi-2712", "6.6.51+rpt-rpi-v8"], False),
        ("6.12.9+rpt-rpi-v8", ["6.12.25+rpt-rpi-v8"], True),
        ("6.1.0-18-arm64", ["6.1.0-21-arm64"], True),
        ("6.1.0-21-arm64", ["6.1.0-18-arm64", "6.1.0-22-cloud-arm64"], False),
        ("6.1.21-v8+", ["6.1.25+", "6.1.25-v7+", "6.1.25-v7l+"], False),
        ("6.1.21-v7+", ["6.1.25-v7+"], True),
        ("5.15.0-1055-raspi", ["5.15.0-1061-raspi"], True),
        ("6.12.25+rpt-rpi-v8", ["extramodules", ""], False),
        ("custom", ["custom"], False),
    ],
)
def test_newer_kernel(running: str, installed: list[str], expected: bool) -> None:
    assert newer_kernel(running, installed) is expected


def test_reboot_required_by_a_kernel_or_by_the_marker(pi: FakeRoot) -> None:
    pi.folder_at("/lib/modules/6.12.34+rpt-rpi-v8")
    assert facts_of(pi.machine)["reboot_required"] is False, "an empty folder is a removed kernel"
    pi.folder_at("/lib/modules/6.12.34+rpt-rpi-v8/kernel")
    assert facts_of(pi.machine)["reboot_required"] is True
    pi.remove("/lib/modules").write("/run/reboot-required", "*** System restart required ***")
    assert facts_of(pi.machine)["reboot_required"] is True


def test_clock(pi: FakeRoot) -> None:
    error = clock.maximum_error_microseconds()
    assert error is not None
    assert 0 <= error <= 16_000_000, "the kernel stops counting at 16 s"
    pi.remove("/etc/localtime").write("/etc/timezone", "Asia/Tokyo").remove("/run/systemd/timesync")
    found = facts_of(pi.machine)
    assert found["clock.timezone"] == "Asia/Tokyo"
    assert "clock.synchronized" not in found


@pytest.mark.parametrize(("text", "count"), [("0-3", 4), ("0", 1), ("0-2,4", 4), ("0,2-3,6-7", 5)])
def test_cpu_lists(text: str, count: int) -> None:
    assert cpu_list_length(text) == count


def test_cpu_models() -> None:
    assert cpu.model("CPU implementer\t: 0x41\nCPU part\t: 0xd03\n") == "Cortex-A53"
    assert cpu.model("CPU implementer\t: 0x41\nCPU part\t: 0xfff\n") == "Arm part 0xfff"
    assert cpu.model("model name\t: AMD EPYC\n") == "AMD EPYC"
    assert cpu.model("") is None


def test_os_release_quotes_and_comments() -> None:
    assert system.os_release("# ID=no\nID='a b'\nVERSION_ID=\"3\"\nEMPTY=\nrubbish\n") == {
        "ID": "a b",
        "VERSION_ID": "3",
        "EMPTY": "",
    }


def test_wireless_without_a_signal_says_only_the_interface(pi: FakeRoot) -> None:
    pi.write("/proc/net/wireless", fakeroot.WIRELESS.format(quality=0, level=0))
    found = facts_of(pi.machine)
    assert (found["wifi.interface"], found["wifi.link_quality"]) == ("wlan0", 0.0)
    assert "wifi.signal_dbm" not in found
    assert wifi.first_link("Inter-| sta-|\n face | tus |\n") is None


def test_ipv6_that_passes_is_left_out() -> None:
    table = "\n".join(
        [
            "20010db8000000000000000000000001 02 40 00 80 eth0",
            "20010db8000000000000000000000002 02 40 00 01 eth0",
            "20010db8000000000000000000000003 02 40 00 20 eth0",
            "20010db8000000000000000000000004 02 40 00 40 eth0",
            "fe800000000000000000000000000005 02 40 20 80 eth0",
        ]
    )
    assert network.ipv6_of_table(table) == [("eth0", "2001:db8::1")]


def test_container_interfaces_are_left_out_and_tunnels_kept(pi: FakeRoot) -> None:
    for name in ("docker0", "veth12ab", "br-0f0f", "tailscale0"):
        pi.interface(name, "02:42:00:00:00:01")
    table = (pi.folder / "proc/net/if_inet6").read_text()
    added = "".join(
        f"fd7a000000000000000000000000000{number} 0{number} 40 00 80 {name}\n"
        for number, name in ((3, "tailscale0"), (4, "docker0"))
    )
    pi.write("/proc/net/if_inet6", table + added)
    found = facts_of(pi.machine)
    assert set(found["interfaces"]) == {"eth0", "wlan0", "tailscale0"}
    assert "fd7a::3" in found["addresses"]
    assert "fd7a::4" not in found["addresses"]


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/.dockerenv", "", "docker"),
        ("/run/.containerenv", "", "podman"),
        ("/run/systemd/container", "lxc", "lxc"),
        ("/sys/class/dmi/id/sys_vendor", "QEMU", "qemu"),
        ("/proc/cpuinfo", "flags\t\t: fpu hypervisor lahf_lm", "vm"),
    ],
)
def test_virtualization(pi: FakeRoot, path: str, content: str, expected: str) -> None:
    assert facts_of(pi.write(path, content).machine)["virtualization"] == expected


def test_thermal_zone_that_cannot_be_read_gives_way_to_the_next(pi: FakeRoot) -> None:
    pi.remove("/sys/class/thermal/thermal_zone0/temp").write("/sys/class/thermal/thermal_zone1/temp", "-1500")
    assert facts_of(pi.machine)["temperature_celsius"] == -1.5


def test_an_interface_that_is_not_wireless_has_no_network_name() -> None:
    assert wifi.ssid("lo") is None
    assert wifi.ssid("there-is-none") is None
