"""The layers of configuration, and what may stand in them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent import config, wire
from edgeagent.config import KEYS, Document, Layer, Value
from edgeagent.errors import Failed, UsageProblem
from edgeagent.plainvalues import form_problems
from edgeagent.schema import SECTIONS, AgentSettings, DeviceSettings, LeafSettings
from edgeagent.settings import Settings


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    return {
        name: found.value
        for name, found in config.merged(Layer(str(number), layer) for number, layer in enumerate(layers)).items()
    }


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ([], {}),
        ([{"agent": {"micro": True}}], {"agent.micro": True}),
        ([{"agent": {"micro": True}}, {"agent": {"micro": False}}], {"agent.micro": False}),
        (
            [{"app": {"a": {"x": 1, "y": {"z": 2}}}}, {"app": {"a": {"y": {"w": 3}}}}],
            {"app.a.x": 1, "app.a.y.z": 2, "app.a.y.w": 3},
        ),
        ([{"app": {"a": {"list": [1, 2, 3]}}}, {"app": {"a": {"list": [4]}}}], {"app.a.list": [4]}),
        ([{"app": {"a": {"x": {"y": 1}}}}, {"app": {"a": {"x": 2}}}], {"app.a.x": 2}),
        ([{"app": {"a": {"x": 2}}}, {"app": {"a": {"x": {"y": 1}}}}], {"app.a.x.y": 1}),
        ([{"app": {"a": {"x": 2}}}, {"app": {"a": {"x": {}}}}], {"app.a.x": 2}),
        ([{"app": {"a": {}}}], {}),
    ],
    ids=range(9),
)
def test_later_layers_go_before_earlier_ones_key_by_key(layers: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    assert merged(*layers) == wanted


def test_each_value_says_where_it_comes_from_and_no_layer_is_changed() -> None:
    layers = [Layer("fleet", {"app": {"a": {"x": 1, "y": 1}}}), Layer("device", {"app": {"a": {"y": 2}}})]
    before = repr(layers)
    assert config.merged(layers) == {"app.a.x": Value(1, "fleet"), "app.a.y": Value(2, "device")}
    assert repr(layers) == before


def test_flat_and_nested_are_opposites() -> None:
    values = {"agent": {"micro": True}, "app": {"a": {"list": [{"x": 1}], "t": {"u": "v"}}}}
    assert config.flat(values) == {"agent.micro": True, "app.a.list": [{"x": 1}], "app.a.t.u": "v"}
    assert config.nested(config.flat(values)) == values
    for clash in ({"app.a": 1, "app.a.b": 2}, {"app.a.b": 2, "app.a": 1}):
        with pytest.raises(UsageProblem, match=r"cannot set app\.a"):
            config.nested(clash)


def test_every_key_is_a_setting_with_a_possible_default() -> None:
    own = Settings()
    for name, key in KEYS.items():
        assert key.of(own) == key.default and key.description, name
    assert config.impossible(config.merged([config.defaults()])) == []
    assert {name for name, key in KEYS.items() if key.live} > {"agent.heartbeat_seconds", "device.labels", "agent.log_level"}


@pytest.mark.parametrize(
    "name", ["hub.authorities", "hub.credentials", "hub.proxy", "device.id", "leaf.server", "leaf.mode", "paths.state"]
)
def test_who_a_device_is_and_where_its_hub_is_stays_its_own(name: str) -> None:
    section, field = name.split(".")
    assert field in SECTIONS[section].__struct_fields__ and name not in KEYS
    problem = f"{name}: it is set in agent.toml on the device itself, not from the hub"
    assert config.misplaced({section: {field: "x"}}) == [problem]
    assert config.ignored({section: {field: "x"}}) == [name]


def test_a_mistyped_name_is_said_with_the_near_one() -> None:
    assert config.misplaced({"agent": {"heartbeat_second": 1}}) == [
        "agent.heartbeat_second: there is no such setting; did you mean agent.heartbeat_seconds?"
    ]
    assert config.misplaced({"doors": {"x": 1}}) == [
        "doors.x: there is no such setting; keys of your own programs are app.<program>.<key>, of microcontrollers mcu.<id>.<key>"
    ]
    own = {"app": {"a": {"b": 1}}, "mcu": {"oven": {"interval": 5}}}
    assert config.misplaced({"agent": {"micro": False}, "device": {"labels": {"site": "x"}}, **own}) == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"mcu": {"Oven": {}}},
            "mcu.Oven: a microcontroller's name is 1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit",
        ),
        ({"mcu": {"oven": 5}}, "mcu.oven: it must be a table"),
        ({"agent": {"heartbeat_seconds": 0}}, "agent.heartbeat_seconds = 0: it must be at least 1"),
        ({"agent": {"heartbeat_seconds": "5"}}, "agent.heartbeat_seconds = '5': it must be a number"),
        ({"agent": {"log_level": "loud"}}, "agent.log_level = 'loud': it must be one of debug, info, warning, error"),
        ({"agent": {"micro": 1}}, "agent.micro = 1: it must be true or false"),
        ({"agent": 5}, "agent: it is a section, so it must be a table"),
        ({"device": {"labels": {"Site": "x"}}}, "device.labels.Site: it must be 1 to 63 of"),
        ({"app": 5}, "app: it must be a table of programs"),
        ({"app": {"Doors": {}}}, "app.Doors: a program's name is 1 to 63 of"),
        ({"app": {"doors": 5}}, "app.doors: it must be a table"),
        ({"app": {"doors": {"a.b": 5}}}, "app.doors.a.b: a key is 1 to 64 of"),
        ({"app": {"doors": {"": 5}}}, "app.doors.: a key is 1 to 64 of"),
        ({"app": {"doors": {"x": None}}}, "app.doors.x: it must be text, a number"),
        ({"app": {"doors": {"x": [1, None]}}}, "app.doors.x[1]: it must be text, a number"),
        ({"app": {"doors": {"x": 1 << 63}}}, "app.doors.x: 9223372036854775808 does not fit into 64 bits"),
        ({"app": {"doors": {"x": float("nan")}}}, "app.doors.x: nan is no number that JSON has"),
        ({"app": {"doors": {"x": float("inf")}}}, "app.doors.x: inf is no number that JSON has"),
        ({"tomorrow": {"x": 1 << 70}}, "tomorrow.x: 1180591620717411303424 does not fit"),
        ({"tomorrow": {"a b": 1}}, "tomorrow.a b: a key is"),
    ],
    ids=range(20),
)
def test_what_is_wrong_with_a_value_is_said(values: dict[str, Any], problem: str) -> None:
    found = config.invalid(values)
    assert len(found) == 1 and found[0].startswith(problem)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert len(config.invalid({"agent": {"heartbeat_seconds": 0, "facts_seconds": 0}, "query": {"burst": 0}})) == 3


def test_the_form_of_values_alone() -> None:
    assert form_problems("", {"a": {"b": [1, "x", True, 2.5, {"c": []}]}}) == []
    assert form_problems("x", object())[0].startswith("x: it must be text")
    assert config.without_invalid({"agent": {"log_level": "trace", "micro": False}, "app": {"a": {"x": 1}}}) == {
        "agent": {"micro": False},
        "app": {"a": {"x": 1}},
    }
    assert config.without_invalid({"a b": 1, "agent": {"micro": False}}) == {}


def test_labels_must_fit_into_a_report() -> None:
    halves = [Layer(side, {"device": {"labels": {f"{side}{number}": "x" * 256 for number in range(32)}}}) for side in "ab"]
    assert config.impossible(config.merged([config.defaults(), *halves]))[0].startswith("device.labels: they take")
    assert config.impossible(config.merged([config.defaults(), halves[0]])) == []
    assert config.invalid({"device": {"labels": {"site": "a\x1b[2J"}}})[0].endswith("none of them a control character")


def test_an_external_leaf_takes_nothing_that_it_cannot_reload() -> None:
    values = {"leaf": {"sync_seconds": 20}, "agent": {"micro": False}}
    external = Settings(leaf=LeafSettings(mode="external"))
    assert config.ignored(values, external) == ["leaf.sync_seconds"] and config.ignored(values, Settings()) == []


def test_names_of_another_version_are_no_error_on_a_device() -> None:
    values = {"tomorrow": {"depth": 5}, "agent": {"mood": "good", "micro": False}, "app": {"a": {"x": -1.5}}}
    assert config.invalid(values) == []
    assert config.ignored(values) == ["tomorrow.depth", "agent.mood"]


def test_a_document_is_bounded_in_depth() -> None:
    deep: Any = 1
    for _ in range(17):
        deep = {"x": deep}
    with pytest.raises(Failed, match="nested deeper than 16 levels"):
        config.document_of(msgspec.json.encode({"values": deep}))
    with pytest.raises(Failed, match="read a configuration"):
        config.document_of(b'{"values": {"a": ' + b"[" * 100_000)
    assert config.document_of(wire.encode(Document(values={"a": {"b": 1}}, note="why"))) == Document({"a": {"b": 1}}, "why")


def test_settings_as_a_layer_and_back() -> None:
    own = Settings(device=DeviceSettings(labels={"site": "berlin"}), agent=AgentSettings(heartbeat_seconds=5))
    layer = config.of_settings(own)
    assert config.flat(layer.values) == {"device.labels.site": "berlin", "agent.heartbeat_seconds": 5}
    values = config.merged(
        [config.defaults(), layer, Layer("fleet", {"agent": {"heartbeat_seconds": 9}, "device": {"labels": {"rack": "7"}}})]
    )
    found = config.with_config(own, values)
    assert found.agent.heartbeat_seconds == 9 and isinstance(found.agent.heartbeat_seconds, float)
    assert found.device.labels == {"site": "berlin", "rack": "7"}
    assert config.with_config(own, config.merged([config.defaults(), layer])) == own


def test_what_only_together_is_impossible_changes_nothing() -> None:
    halves = [{"device": {"labels": {f"{side}{number}": "x" for number in range(40)}}} for side in "ab"]
    values = config.merged([config.defaults(), *(Layer("l", half) for half in halves)])
    assert [config.invalid(half) for half in halves] == [[], []]
    assert config.impossible(values)[0].startswith("device.labels")
    assert config.with_config(Settings(), values) == Settings()
