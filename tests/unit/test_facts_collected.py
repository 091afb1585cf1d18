"""The shell: which providers are read, how often, and what happens when one of them is bad."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeagent import registry
from edgeagent.builtin import facts as builtin_facts
from edgeagent.machine import Machine
from edgeagent.patterns.facts import Facts, catalogue, select
from edgeagent.registry import Field, facts
from tests.support import fakeroot


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Provider:
    """Gives what it was told to, and counts."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values, self.reads = values, 0

    def __call__(self, machine: Machine) -> Mapping[str, Any]:
        self.reads += 1
        if "raise" in self.values:
            raise self.values["raise"]
        return self.values


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "pi" not in request.fixturenames:
        monkeypatch.setattr(registry, "_providers", {})


@pytest.fixture
def pi(tmp_path: Path) -> fakeroot.FakeRoot:
    assert builtin_facts.__path__
    return fakeroot.pi_4(tmp_path)


@pytest.fixture
def fan() -> Provider:
    fan = Provider({"fan.speed_rpm": 900, "fan.model": "A"})
    facts("fan", Field("fan.speed_rpm", "int", "Speed.", volatile=True), Field("fan.model", "string", "Its model."))(fan)
    return fan


@pytest.fixture
def door() -> Provider:
    door = Provider({"door": "open"})
    facts("door", Field("door", "string", "Open or shut."))(door)
    return door


@pytest.mark.parametrize("wanted", ["fan", "fan.model", "fan.model.deeper"])
def test_only_the_providers_that_are_wanted_are_read(fan: Provider, door: Provider, tmp_path: Path, wanted: str) -> None:
    known = Facts(Machine(tmp_path)).current([wanted])
    assert known == {"fan": {"speed_rpm": 900, "model": "A"}}
    assert (fan.reads, door.reads) == (1, 0)


def test_nothing_named_is_everything_and_an_unknown_name_is_nothing(fan: Provider, door: Provider, tmp_path: Path) -> None:
    assert Facts(Machine(tmp_path)).current(["fans"]) == {}
    assert set(Facts(Machine(tmp_path)).current()) == {"fan", "door"}


def test_stable_leaves_the_volatile_out(fan: Provider, door: Provider, tmp_path: Path) -> None:
    assert Facts(Machine(tmp_path)).stable() == {"fan": {"model": "A"}, "door": "open"}


def test_a_reading_is_good_for_a_second(fan: Provider, door: Provider, tmp_path: Path) -> None:
    clock = Clock()
    known = Facts(Machine(tmp_path), clock=clock)
    for clock.seconds in (0.0, 0.5, 0.99):
        known.current(["fan"])
    assert fan.reads == 1
    known.current(["door"])
    assert (fan.reads, door.reads) == (1, 1), "each provider has a reading of its own"
    clock.seconds = 1.0
    known.stable()
    assert (fan.reads, door.reads) == (2, 1)


def test_a_provider_that_raises_is_left_out_counted_and_said_once(
    fan: Provider, door: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fan.values = {"raise": OSError("bus error")}
    known = Facts(Machine(tmp_path), cache_seconds=0)
    for _ in range(3):
        assert known.current() == {"door": "open"}
    assert [record.getMessage() for record in caplog.records] == ["facts of fan: OSError: bus error (said once)"]
    statistics = known.statistics["fan"]
    assert (statistics.reads, statistics.errors, statistics.last_error) == (3, 3, "OSError: bus error")
    assert (known.statistics["door"].reads, known.statistics["door"].errors) == (3, 0)
    assert known.statistics["door"].seconds_total > 0


def test_undeclared_and_ill_typed_values_are_left_out(fan: Provider, tmp_path: Path) -> None:
    fan.values = {"fan.speed_rpm": float("nan"), "fan.model": "A", "fan.colour": "black"}
    known = Facts(Machine(tmp_path))
    assert known.current() == {"fan": {"model": "A"}}
    assert known.statistics["fan"].errors == 2


def test_a_whole_number_of_a_double_becomes_one(tmp_path: Path) -> None:
    facts("load", Field("load", "double", "Load."))(Provider({"load": 1}))
    assert isinstance(Facts(Machine(tmp_path)).current()["load"], float)


def test_facts_from_outside_are_asked_each_time_and_win(fan: Provider, tmp_path: Path) -> None:
    labels = {"site": "berlin"}
    known = Facts(Machine(tmp_path), lambda: {"labels": dict(labels), "fan.model": "B"})
    assert known.current(["labels.site"]) == {"labels": {"site": "berlin"}, "fan": {"model": "B"}}
    assert fan.reads == 0
    labels["site"] = "bonn"
    assert known.stable() == {"labels": {"site": "bonn"}, "fan": {"model": "B"}}


def test_select_picks_names_and_roots() -> None:
    known = {"memory": {"total_bytes": 4, "utilization": 0.5}, "labels": {"site": "berlin"}, "model": "Pi"}
    assert select(known, ["memory.utilization", "model", "labels.floor", "swap", "model.deeper"]) == {
        "memory": {"utilization": 0.5},
        "model": "Pi",
    }
    assert select(known, ["memory.utilization", "memory"]) == {"memory": known["memory"]}
    assert select(known, []) == {}


def test_select_does_not_change_what_it_picks_from() -> None:
    known = {"a": {"b": 1, "c": {"d": 2}}}
    select(known, ["a.b", "a", "a.c.d", "a.c"])
    assert known == {"a": {"b": 1, "c": {"d": 2}}}


def test_what_moves_by_itself_on_a_pi_is_no_change(pi: fakeroot.FakeRoot) -> None:
    known = Facts(pi.machine, cache_seconds=0)
    stable, before = known.stable(), known.current()
    pi.write("/proc/uptime", "86999.99 1.0").write("/proc/loadavg", "3.11 0.48 0.40 1/213 4711")
    pi.write("/proc/meminfo", fakeroot.MEMINFO.format(total=3884324, available=1, swap=524272))
    pi.write("/sys/class/thermal/thermal_zone0/temp", "81999")
    pi.write("/proc/net/wireless", fakeroot.WIRELESS.format(quality=10, level=-88))
    after = known.current()
    for name in ("uptime_seconds", "cpu", "memory", "temperature_celsius", "wifi"):
        assert before[name] != after[name]
    assert known.stable() == stable
    pi.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1")
    alarmed = known.stable()
    assert alarmed != stable
    pi.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0")
    assert known.stable() == alarmed, "an alarm that comes and goes is one change"


def test_no_built_in_provider_fails_on_any_board(pi: fakeroot.FakeRoot, tmp_path: Path) -> None:
    for make in (fakeroot.pi_4, fakeroot.pi_5, fakeroot.zero_2w):
        known = Facts(make(tmp_path / make.__name__).machine)
        assert known.current()["model"].startswith("Raspberry Pi")
        assert {name: each.last_error for name, each in known.statistics.items() if each.errors} == {}


def test_no_built_in_provider_fails_on_this_machine(pi: fakeroot.FakeRoot) -> None:
    known = Facts(Machine())
    assert known.current()["kernel"]
    assert {name: each.last_error for name, each in known.statistics.items() if each.errors} == {}


def test_the_catalogue_needs_no_reading(fan: Provider) -> None:
    assert [field.name for field in catalogue()] == ["fan.model", "fan.speed_rpm"]
    assert fan.reads == 0
