from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent import registry
from edgeagent.builtin import facts as builtin_facts
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_providers", dict(registry._providers))


def nothing(machine: Machine) -> dict[str, object]:
    return {}


@pytest.mark.parametrize("name", ["", "Upper.case", "a..b", ".a", "a-b", "cpu.in", "while", "1st", "a "])
def test_names_that_cel_could_not_ask_for_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a fact"):
        facts("mine", Field(name, "int", "Something of mine."))(nothing)


def test_unknown_type_and_missing_description_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown type 'float'"):
        facts("mine", Field("mine", "float", "Something of mine."))(nothing)
    with pytest.raises(ValueError, match="no description"):
        facts("mine", Field("mine", "int", " "))(nothing)


@pytest.mark.parametrize("name", ["memory.total_bytes", "memory", "memory.total_bytes.more"])
def test_a_field_that_another_provider_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"collides with memory\."):
        facts("mine", Field(name, "int", "Something of mine."))(nothing)


def test_a_name_beside_others_is_fine() -> None:
    facts("mine", Field("memory_of_mine.total_bytes", "int", "Something of mine."))(nothing)
    assert "memory_of_mine.total_bytes" in [field.name for field in registry.fields()]


def test_two_modules_cannot_share_a_providers_name_but_a_reload_can() -> None:
    with pytest.raises(ValueError, match="two providers of facts are called 'memory'"):
        facts("memory", Field("mine", "int", "Something of mine."))(nothing)
    for _ in range(2):
        facts("mine", Field("mine", "int", "Something of mine."))(nothing)


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("int", [0, -1], [True, 1.0, "1", None]),
        ("double", [0.5, 1], [True, float("nan"), float("inf"), "1"]),
        ("bool", [True, False], [0, "true"]),
        ("string", ["", "a"], [b"a", None]),
        ("list", [[], ["a"]], ["a", {}]),
        ("map", [{}, {"a": 1}], [[], "a"]),
        ("timestamp", ["2026-01-01T00:00:00Z"], [0]),
    ],
)
def test_values_are_told_from_wrong_ones(type_: str, good: list[object], bad: list[object]) -> None:
    field = Field("a", type_, "Something.")
    assert [value for value in good if not field.accepts(value)] == []
    assert [value for value in bad if field.accepts(value)] == []


def test_nest() -> None:
    assert registry.nest({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution with two plugins: one works, the other breaks while it is imported."""
    (tmp_path / "fan_facts_plugin.py").write_text(
        "from edgeagent.registry import Field, facts\n"
        '@facts("fan", Field("fan.speed_rpm", "int", "Speed of the fan in revolutions per minute."))\n'
        "def read(machine):\n    return {'fan.speed_rpm': 900}\n"
    )
    (tmp_path / "broken_facts_plugin.py").write_text("raise RuntimeError('no such sensor')\n")
    meta = tmp_path / "fan_facts-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: fan-facts\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[edgeagent.facts]\nbroken = broken_facts_plugin\nfan = fan_facts_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    builtin_facts.load_plugins.cache_clear()
    yield
    builtin_facts.load_plugins.cache_clear()


def test_plugins_are_loaded_and_a_broken_one_costs_only_itself(
    plugins: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "fan" not in [provider.name for provider in registry.fact_providers()]
    assert builtin_facts.load_plugins() == {"broken": "RuntimeError: no such sensor"}
    builtin_facts.load_plugins()
    assert [record.getMessage() for record in caplog.records] == [
        "left out the facts plugin broken (broken_facts_plugin): RuntimeError: no such sensor"
    ]
    fan = next(provider for provider in registry.fact_providers() if provider.name == "fan")
    assert fan.read(Machine(tmp_path)) == {"fan.speed_rpm": 900}
