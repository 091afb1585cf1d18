"""What the checks of `edgeagent doctor` make of the network, the disks and the power supply."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeagent.assembly.findings import Finding
from edgeagent.doctor import card, disk, network, power
from edgeagent.doctor.check import Patient
from edgeagent.doctor.probe import Reached
from edgeagent.errors import Refused
from edgeagent.leaf.storelimit import StoreLimit
from edgeagent.schema import PathSettings
from edgeagent.settings import Settings
from tests.support import fakeroot

NOW, DAY = 1_800_000_000.0, 86_400.0
GiB = 1 << 30


def levels(findings: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in findings]


# ---- the way to the hub ---------------------------------------------------------------------------------------------------------

GOOD = Reached(url="tls://hub.example:7422", host="hub.example", port=7422, silence="", encrypted=True, ends=NOW + 100 * DAY)


def way(*tried: Reached, **more: Any) -> network.Way:
    return network.Way(now=NOW, authorities="/v/authorities.pem", tried=tried, **more)


def test_one_of_several_addresses_that_does_not_work_is_a_warning() -> None:
    silent = replace(GOOD, url="tls://b:1", silence="nothing listens there", ends=None)
    unknown = replace(GOOD, url="tls://c:1", host="c", silence=None, unknown={"c": "the DNS does not know it"}, ends=None)
    expired = replace(GOOD, url="tls://d:1", ends=None, distrust=(10, "certificate has expired"))
    for judge, bad in ((network.reached, silent), (network.dns, unknown), (network.encryption, expired)):
        assert "warn" in levels(judge(way(GOOD, bad))) and levels(judge(way(bad))) == ["wrong"]


@pytest.mark.parametrize(
    ("code", "words"), [(9, "not valid yet"), (10, "has expired"), (62, "another name"), (64, "another name"), (20, "not signed")]
)
def test_why_a_certificate_is_not_good(code: int, words: str) -> None:
    (found,) = network.encryption(way(replace(GOOD, ends=None, distrust=(code, "x"))))
    assert found.level == "wrong" and words in found.text


def test_ways_without_tls_and_without_a_hub() -> None:
    plain = replace(GOOD, url="nats-leaf://hub.example:7422", encrypted=False, ends=None)
    assert levels(network.encryption(way(plain))) == ["warn"]
    assert levels(network.encryption(way(replace(plain, host="127.0.0.1")))) == []
    assert levels(network.reached(way())) == ["warn"] and levels(network.reached(way(hidden=True))) == ["unknown"]
    assert levels(network.encryption(way(GOOD, hidden=True))) == ["unknown"]
    refused = Refused("read /v/authorities.pem", "permission denied")
    assert levels(network.encryption(way(replace(GOOD, ends=None, unreadable=refused)))) == ["unknown"]
    (proxied,) = network.reached(way(replace(GOOD, proxied=True, host="proxy", port=3128)))
    assert proxied.text == "tls://hub.example:7422 by the proxy proxy:3128"


# ---- disks and power ------------------------------------------------------------------------------------------------------------


def room(**changes: Any) -> disk.Room:
    return replace(disk.Room(point="/v", size=30 * GiB, free=20 * GiB, files=10_000, free_files=9_000, floor=GiB // 4), **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["good"]),
        ({"free": 100 << 20}, ["warn"]),
        ({"free": 1 << 20}, ["wrong"]),
        ({"free_files": 150}, ["warn", "good"]),
        ({"free_files": 3}, ["wrong", "good"]),
        ({"files": 0, "free_files": 0}, ["good"]),  # btrfs
    ],
)
def test_rooms(changes: dict[str, Any], expected: list[str]) -> None:
    found = levels(disk.room(room(**changes)))
    assert found[:1] == expected[:1]


@pytest.mark.parametrize(
    ("limit", "used", "level"), [(GiB, 0, "good"), (GiB * 25, 0, "warn"), (GiB * 25, GiB * 10, "good"), (GiB * 31, 0, "wrong")]
)
def test_stores(limit: int, used: int, level: str) -> None:
    kept = StoreLimit(limit_bytes=limit, wished_bytes=limit, floor_bytes=0, disk_bytes=30 * GiB)
    assert levels(disk.judge_store(disk.Held(limit=kept, used=used), room())) == [level]
    assert levels(disk.judge_store(disk.Held(limit=None, used=0), room())) == ["good"]
    assert levels(disk.judge_store(disk.Held(limit=None, used=0, hidden=True), room())) == ["unknown"]


_OVERLAY = "30 1 0:30 / / rw - overlay overlay rw,lowerdir=/low,upperdir={}"


@pytest.mark.parametrize(
    ("mounts", "level"),
    [
        ("30 1 179:2 / / rw,noatime - ext4 /dev/mmcblk0p2 rw", "good"),
        ("30 1 179:2 / / ro,noatime - ext4 /dev/mmcblk0p2 rw", "wrong"),
        ("30 1 179:2 / / rw,noatime - ext4 /dev/mmcblk0p2 ro,errors=remount-ro", "wrong"),
        ("30 1 0:30 / / rw - overlay o rw\n31 30 179:3 / {state} rw - ext4 /dev/mmcblk0p3 rw", "good"),
        (_OVERLAY.format("/media/up") + "\n31 30 0:31 / /media rw - tmpfs tmpfs rw", "wrong"),
        (_OVERLAY.format("/media/up") + "\n31 30 8:1 / /media rw - ext4 /dev/sda1 rw", "good"),
        (_OVERLAY.format("/var/lib/docker/up"), "warn"),
        (_OVERLAY.format("/media/of/the/host") + "\n31 30 0:31 / /media rw - tmpfs tmpfs rw", "warn"),
    ],
)
def test_where_the_state_folder_is(mounts: str, level: str, tmp_path: Path) -> None:
    state = (tmp_path / "state").resolve()
    state.mkdir()
    root = (
        fakeroot.pi_4(tmp_path / "pi").write("/proc/self/mountinfo", mounts.replace("{state}", str(state))).folder_at("/media/up")
    )
    settings = Settings(source=tmp_path / "agent.toml", paths=PathSettings(state="state"))
    assert levels(disk.judge_writable(disk.read_mounts(Patient(settings=settings, machine=root.machine)))) == [level]


CARD = card.Card(now=NOW, disk="mmcblk0", kind="sd", device="mmcblk0p2")


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, "good", "nothing is known against it"),
        ({"life": 0x0A}, "warn", "90 % of its life are used"),
        ({"reserve": 2}, "warn", "80 % of its spare blocks"),
        ({"errors": 4, "last_error": int(NOW - DAY)}, "wrong", "has met 4 errors, the last 1d ago"),
        ({"garbled": 9}, "warn", "9 transfers from or to mmcblk0 failed"),
    ],
)
def test_cards(changes: dict[str, Any], level: str, words: str) -> None:
    (found,) = card.judge(replace(CARD, **changes))
    assert found.level == level and words in found.text
    assert list(card.judge(None)) == []


def test_transfers_that_failed_are_counted_and_commands_are_not(tmp_path: Path) -> None:
    text = "# Command Timeout Occurred:\t 4\n# Data Timeout Occurred:\t 2\n# Data CRC Errors Occurred:\t 5\n# ADMA Error Occurred:\t 1\n"
    assert card.transfer_errors(text) == 7
    root = fakeroot.pi_4(tmp_path).write("/sys/kernel/debug/mmc0/err_stats", text)
    found = card.read(Patient(settings=Settings(), machine=root.machine))
    assert found is not None and (found.disk, found.kind, found.garbled) == ("mmcblk0", "sd", 7)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x0, ["good"]),
        (0x1, ["wrong"]),
        (0x50005, ["wrong", "warn"]),
        (0x50000, ["warn"]),
        (0x80008, ["warn"]),
        (0x80000, ["warn"]),
    ],
)
def test_power(bits: int, expected: list[str], tmp_path: Path) -> None:
    root = fakeroot.pi_4(tmp_path).remove("/sys/class/hwmon/hwmon1")
    root.write("/sys/devices/platform/soc/soc:firmware/get_throttled", f"{bits:x}")
    assert levels(power.judge(power.read(Patient(settings=Settings(), machine=root.machine)))) == expected
    assert list(power.judge({})) == []
