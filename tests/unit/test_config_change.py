"""What changes from one configuration to the next, and which changes of two people are in each other's way."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.config import nested
from edgeagent.errors import SettingsProblem, UsageProblem
from edgeagent.fleet.configchange import assign, check, differences, overlap, remove

DOORS = nested({"app.doors.open": "07:00", "app.doors.close": "20:00", "agent.micro": True})


def test_what_is_different_is_named_with_both_values() -> None:
    after = nested({"app.doors.open": "08:00", "agent.micro": True, "agent.log_level": "debug"})
    assert differences(DOORS, after) == {
        "agent.log_level": (None, "debug"),
        "app.doors.close": ("20:00", None),
        "app.doors.open": ("07:00", "08:00"),
    }
    assert differences(DOORS, DOORS) == {} and differences({}, {"app": {"empty": {}}}) == {}


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), ([1], [True]), ([{"a": 1}], [{"a": 1.0}]), ([1], [1, 1])])
def test_what_a_program_would_see_as_different_is(one: Any, other: Any) -> None:
    assert differences({"app": {"a": {"x": one}}}, {"app": {"a": {"x": other}}}) == {"app.a.x": (one, other)}


def test_values_are_set_beside_the_others_and_a_table_replaces_a_table() -> None:
    assert assign(DOORS, {"app.doors.open": "08:00", "app.lamp.on": True}) == nested(
        {"app.doors.open": "08:00", "app.doors.close": "20:00", "agent.micro": True, "app.lamp.on": True}
    )
    assert assign(DOORS, {"app.doors": {"open": "09:00"}}) == nested({"app.doors.open": "09:00", "agent.micro": True})
    assert assign(DOORS, {"app.doors": {}}) == nested({"agent.micro": True})


@pytest.mark.parametrize("changes", [{"app.doors": 5}, {"app.doors.open.x": 1}, {"app.a.b": 1, "app.a.b.c": 2}])
def test_a_key_is_no_value_and_table_at_once(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageProblem, match=r"table|value"):
        assign(DOORS, changes)


def test_keys_and_tables_are_removed() -> None:
    assert remove(DOORS, ["app.doors.open"]) == nested({"app.doors.close": "20:00", "agent.micro": True})
    assert remove(DOORS, ["app.doors", "app.doors.open"]) == {"agent": {"micro": True}}
    assert remove(DOORS, ["app", "agent.micro"]) == {}


def test_what_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(UsageProblem, match=r"not set there\. Did you mean 'app\.doors\.open'"):
        remove(DOORS, ["app.doors.opn"])
    with pytest.raises(UsageProblem, match=r"These are: agent\.micro"):
        remove({"agent": {"micro": True}}, ["zzz"])
    with pytest.raises(UsageProblem, match="Nothing is set there"):
        remove({}, ["app.door"])
    with pytest.raises(UsageProblem, match=r"Did you mean 'app\.doors'"):
        remove(DOORS, ["app.dors"])
    many = {"app": {"a": {f"k{number:02}": 1 for number in range(12)}}}
    with pytest.raises(UsageProblem, match=r"app\.a\.k09 and 2 more$"):
        remove(many, ["zzz"])


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (["app.a.x"], ["app.a.y"], []),
        (["app.a.x"], ["app.a.x"], ["app.a.x"]),
        (["app.a"], ["app.a.x"], ["app.a"]),
        (["app.a.x", "app.b"], ["app.a"], ["app.a.x"]),
        (["app.a"], ["app.ab"], []),
    ],
)
def test_two_changes_are_in_each_others_way(one: list[str], other: list[str], both: list[str]) -> None:
    assert overlap(one, other) == both


def test_everything_that_is_wrong_with_a_document_is_said_at_once() -> None:
    values = nested({"agent.heartbeat_seconds": 0, "agent.logg": 1, "hub.proxy": "", "app.Doors.x": 1})
    with pytest.raises(SettingsProblem) as caught:
        check(values, "change it")
    said = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4 and caught.value.exit_code == 2
    assert all(
        part in said
        for part in ("agent.heartbeat_seconds = 0", "agent.logg", "in agent.toml on the device", "app.Doors: a program")
    )
    check(DOORS, "change it")
