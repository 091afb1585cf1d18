"""The registry of collectors, and what the built-in ones measure on a Raspberry Pi."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import collectors as registry
from edgeagent.builtin import collectors as builtin_collectors
from edgeagent.collectors import DURATION, FAILURES, Metric, OwnState, Round, collector, collectors, metrics
from edgeagent.machine import Machine
from edgeagent.sample import COUNTER, Sample
from edgeagent.schema import PathSettings, SamplingSettings
from edgeagent.settings import Settings
from tests.support import fakeroot
from tests.support.fakeroot import FakeRoot

TEMPERATURE = Metric("shop.temperature", "Cel", "How warm the shop is.", attributes=("shop.room",))


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert builtin_collectors.__path__
    monkeypatch.setattr(registry, "_collectors", dict(registry._collectors))


def nothing(round: Round) -> list[Sample]:
    return []


class Pi:
    """A Pi 4 whose counters can be moved, and one of each collector."""

    def __init__(self, root: FakeRoot) -> None:
        self.root, self.clock = root, 1000.0
        self.settings = Settings(paths=PathSettings(state="/var/lib/edgeagent"))
        self.own = OwnState()
        self._made = {each.name: each.make() for each in collectors()}

    def run(self, name: str) -> dict[str, Any]:
        """``{"metric a,b": value}`` of one round; the next is 10 s later."""
        given = Round(machine=self.root.machine, settings=self.settings, clock=self.clock, own=self.own)
        self.clock += 10
        return {
            " ".join(filter(None, (sample.metric, ",".join(sample.attributes.values())))): sample.value
            for sample in self._made[name](given)
        }


@pytest.fixture
def pi(tmp_path: Path) -> Pi:
    return Pi(fakeroot.pi_4(tmp_path))


def test_a_metric_makes_samples_of_what_it_declares() -> None:
    assert TEMPERATURE(21.123456, "hall") == Sample("shop.temperature", 21.123456, {"shop.room": "hall"}, unit="Cel")
    assert Metric("a", "1", "A share.")(0.123456) == Sample("a", 0.1235, unit="1")
    assert Metric("a", "{b}", "A count.", COUNTER)(3) == Sample("a", 3, unit="{b}", kind=COUNTER)
    with pytest.raises(ValueError, match="shorter"):
        TEMPERATURE(21)


@pytest.mark.parametrize("name", ["", "Upper", "a.b", "1a", "a b"])
def test_names_that_no_subject_could_have_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a collector"):
        collector(name, TEMPERATURE)(nothing)


def test_what_is_declared_badly_is_refused() -> None:
    with pytest.raises(ValueError, match="no description"):
        collector("mine", Metric("mine.a", "1", " "))(nothing)
    with pytest.raises(ValueError, match="no description, or another kind"):
        collector("mine", Metric("mine.a", "1", "A.", "sum"))(nothing)
    with pytest.raises(ValueError, match="no name of a metric"):
        collector("mine", Metric("mine a", "1", "A."))(nothing)
    with pytest.raises(ValueError, match="two collectors are called 'cpu'"):
        collector("cpu", TEMPERATURE)(nothing)
    with pytest.raises(ValueError, match=r"system\.uptime is declared in another way by the collector 'uptime'"):
        collector("mine", Metric("system.uptime", "min", "Minutes."))(nothing)


def test_a_strangers_collector_comes_through_the_same_door() -> None:
    for _ in range(2):
        collector("shop", TEMPERATURE)(nothing)
    assert "shop" in [each.name for each in collectors()] and TEMPERATURE in metrics()
    assert {DURATION, FAILURES} <= {*metrics()}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution with two plugins: one works, the other breaks while it is imported."""
    (tmp_path / "fan_collector_plugin.py").write_text(
        "from edgeagent.collectors import Metric, collector\n"
        'SPEED = Metric("hw.fan.speed", "rpm", "Speed of the fan.")\n'
        '@collector("fan", SPEED)\ndef collect(round):\n    yield SPEED(900)\n'
    )
    (tmp_path / "broken_collector_plugin.py").write_text("raise RuntimeError('no such sensor')\n")
    meta = tmp_path / "fan_collector-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: fan-collector\nVersion: 1.0\n")
    entries = "[edgeagent.collectors]\nbroken = broken_collector_plugin\nfan = fan_collector_plugin\n"
    (meta / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(tmp_path)
    builtin_collectors.load_plugins.cache_clear()
    yield
    builtin_collectors.load_plugins.cache_clear()


def test_plugins_are_loaded_and_a_broken_one_costs_only_itself(plugins: None, tmp_path: Path) -> None:
    assert builtin_collectors.load_plugins() == {"broken": "RuntimeError: no such sensor"}
    fan = next(each for each in collectors() if each.name == "fan")
    given = Round(machine=Machine(tmp_path), settings=Settings(), clock=0.0)
    assert list(fan.make()(given)) == [Sample("hw.fan.speed", 900, unit="rpm")]


def test_each_sampler_has_its_own_memory() -> None:
    cpu = next(each for each in collectors() if each.name == "cpu")
    assert cpu.make() is not cpu.make()


def test_the_processor(pi: Pi) -> None:
    pi.root.write("/proc/stat", "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n")
    assert pi.run("cpu") == {"system.cpu.load_average.1m": 0.52}
    pi.root.write("/proc/stat", "cpu  130 10 100 840 20 0 0 0 30 10\n")
    assert pi.run("cpu") == {"system.cpu.utilization": 0.4, "system.cpu.load_average.1m": 0.52}
    pi.root.write("/proc/stat", "cpu  1 1 1 1\n")
    assert "system.cpu.utilization" not in pi.run("cpu"), "it began anew"


def test_memory_and_swap(pi: Pi) -> None:
    pi.root.write("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 250 kB\nSwapTotal: 100 kB\nSwapFree: 75 kB\n")
    assert pi.run("memory") == {
        "system.memory.utilization": 0.75,
        "system.memory.usage": 750 * 1024,
        "system.paging.utilization": 0.25,
    }
    pi.root.write("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 250 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
    assert "system.paging.utilization" not in pi.run("memory")


def test_file_systems(pi: Pi) -> None:
    space = os.statvfs(pi.root.folder)
    used = space.f_blocks - space.f_bfree
    found = pi.run("disk")
    assert sorted(found) == ["system.filesystem.usage /", "system.filesystem.utilization /"]
    assert found["system.filesystem.usage /"] == pytest.approx(used * space.f_frsize, rel=0.05)
    pi.root.write(
        "/proc/self/mountinfo", "29 1 179:2 / / rw - ext4 /dev/a rw\n30 29 8:1 / /var/lib rw - ext4 /dev/b rw\n"
    ).folder_at("/var/lib")
    assert len(pi.run("disk")) == 4 and "system.filesystem.utilization /var/lib" in pi.run("disk")


def test_disks(pi: Pi) -> None:
    assert pi.run("disk_io") == {}, "a disk that nothing was read from says nothing"
    disk = "/sys/class/block/mmcblk0"
    for path in (disk, f"{disk}p2"):
        pi.root.write(f"{path}/stat", "  100 1 2000 5 200 2 4000 6 0 7 8 0 0 0 0\n")
    pi.root.block_device("virtual/block/loop0", "7:0", stat="1 1 1 1 1 1 1 1 1 1 1 1")
    assert pi.run("disk_io") == {"system.disk.io mmcblk0,read": 2000 * 512, "system.disk.io mmcblk0,write": 4000 * 512}


def test_wear_where_the_memory_tells(pi: Pi) -> None:
    assert pi.run("wear") == {}, "SD cards do not"
    device = "/sys/class/block/mmcblk0/device"
    pi.root.write(f"{device}/life_time", "0x01 0x03").write(f"{device}/pre_eol_info", "0x02")
    assert pi.run("wear") == {
        "hw.physical_disk.endurance_utilization mmcblk0,remaining": 0.8,
        "edgeagent.disk.pre_eol_info mmcblk0": 2,
    }
    pi.root.write(f"{device}/life_time", "0x0B 0x00").write(f"{device}/pre_eol_info", "0x00")
    assert pi.run("wear") == {"hw.physical_disk.endurance_utilization mmcblk0,remaining": 0.0}


def test_interfaces(pi: Pi) -> None:
    def counted(name: str, **counts: int) -> None:
        for what, count in counts.items():
            pi.root.write(f"/sys/class/net/{name}/statistics/{what}", str(count))

    assert pi.run("network") == {}
    counted("eth0", rx_bytes=1000, tx_bytes=500, rx_errors=0, tx_errors=2, rx_dropped=3)
    counted("lo", rx_bytes=7)
    pi.root.interface("veth12", "aa:aa:aa:aa:aa:aa")
    counted("veth12", rx_bytes=7)
    assert pi.run("network") == {
        "system.network.io eth0,receive": 1000,
        "system.network.packet.dropped eth0,receive": 3,
        "system.network.io eth0,transmit": 500,
        "system.network.errors eth0,transmit": 2,
    }


def test_what_a_pi_tells_of_itself(pi: Pi) -> None:
    assert pi.run("temperature") == {"hw.temperature cpu": 48.7}
    assert pi.run("uptime") == {"system.uptime": 86461}
    assert pi.run("power") == {"edgeagent.pi.undervoltage": 0}, "the voltage's sensor knows no more"
    pi.root.remove("/sys/class/hwmon").write("/sys/devices/platform/soc/soc:firmware/get_throttled", "50004")
    assert pi.run("power") == {"edgeagent.pi.undervoltage": 0, "edgeagent.pi.throttled": 1}


def process(root: FakeRoot, pid: int, name: str, ticks: int, pages: int, group: str = "/user.slice", argv: str = "") -> None:
    fields = ["S", "1", *["0"] * 9, str(ticks), "0", *["0"] * 6, "555", "0", str(pages), "0"]
    root.write(f"/proc/{pid}/stat", f"{pid} ({name}) {' '.join(fields)}")
    root.write(f"/proc/{pid}/cgroup", f"0::{group}").write(f"/proc/{pid}/cmdline", argv.encode() + b"\0")


def test_chosen_processes(pi: Pi) -> None:
    assert pi.run("processes") == {}
    hz, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    pi.settings = Settings(
        sampling=SamplingSettings(processes=["till", "shop.service", "none", "a-name-that-is-too-long", "a-name-that-is-another"])
    )
    process(pi.root, 10, "till", 0, 3)
    process(pi.root, 11, "till", 5 * hz, 4)
    process(pi.root, 12, "a (b) c", hz, 5, "/system.slice/shop.service/app")
    process(pi.root, 13, "a-name-that-is-", hz, 1, argv="/usr/bin/a-name-that-is-too-long")
    first = pi.run("processes")
    assert first["process.memory.usage till"] == 7 * page and first["edgeagent.process.count till"] == 2
    assert first["process.memory.usage shop.service"] == 5 * page and first["edgeagent.process.count none"] == 0
    assert first["edgeagent.process.count a-name-that-is-too-long"] == 1
    assert first["edgeagent.process.count a-name-that-is-another"] == 0
    assert not any(name.startswith("process.cpu") for name in first)
    process(pi.root, 10, "till", 10 * hz, 3)
    pi.root.remove("/proc/11")
    process(pi.root, 14, "till", 2 * hz, 4)
    second = pi.run("processes")
    assert second["process.cpu.utilization till"] == 12 / 10 / 4, "of four cores; the one that ended took nothing away"
    assert second["process.cpu.utilization none"] == 0


def test_the_agent_and_its_leaf(pi: Pi) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    process(pi.root, os.getpid(), "python3", 0, 2)
    process(pi.root, 77, "nats-server", 0, 3)
    pi.own = OwnState(leaf_pid=77, leaf_restarts=1, waiting=5, forwarded=6, dropped={"retention": 2, "none": 0})
    assert pi.run("agent") == {
        "process.memory.usage edgeagent": 2 * page,
        "process.memory.usage nats-server": 3 * page,
        "edgeagent.leaf.restarts": 1,
        "edgeagent.forward.waiting": 5,
        "edgeagent.forward.forwarded": 6,
        "edgeagent.forward.dropped retention": 2,
    }
    assert pi.run("agent")["process.cpu.utilization nats-server"] == 0
    pi.own = OwnState()
    assert [name for name in pi.run("agent") if "nats" in name or "forward" in name] == []


@pytest.mark.parametrize("each", collectors(), ids=lambda each: each.name)
def test_a_machine_with_nothing_readable_is_no_error(each: registry.Collector, tmp_path: Path) -> None:
    given = Round(machine=Machine(tmp_path / "nothing"), settings=Settings(), clock=0.0)
    assert [sample.metric for sample in each.make()(given)] == (["edgeagent.leaf.restarts"] if each.name == "agent" else [])
