"""The catalogue of facts tells the truth: every field is described, and has a value of its type on a Raspberry Pi."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent import builtin, registry
from edgeagent.builtin import facts as builtin_facts
from edgeagent.builtin.facts.throttling import Throttling
from edgeagent.machine import Machine
from edgeagent.registry import Field
from edgeagent.times import parse_rfc3339
from tests.support import fakeroot

#: No file holds these: they are handed in.
GIVEN = {"id", "groups", "labels", "alerts", "mcus", "mcus_now", "versions.nats_server"}

#: The kernel is asked by a system call, which a fake root can't answer.
SYSTEM_CALLS = {"wifi.ssid"}

UNITS = ("_bytes", "_celsius", "_seconds", "_dbm", "_1m", "_bits")


def _fields() -> list[Field]:
    assert builtin_facts.__path__ and builtin.__path__
    return registry.fields()


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Everything that the providers say on a Pi 4 whose firmware may be asked, dotted."""
    machine = fakeroot.pi_4(tmp_path_factory.mktemp("pi_4")).machine
    found: dict[str, object] = {}
    for provider in registry.fact_providers():
        found.update(provider.read(machine))
    found.update(Throttling(ask_firmware=lambda machine, command: "throttled=0x50005")(machine))
    return found


@pytest.mark.parametrize("field", _fields(), ids=lambda field: field.name)
def test_field_is_described_and_has_a_value_of_its_type(field: Field, values: dict[str, object]) -> None:
    assert len(field.description) > 10
    assert field.description.endswith((".", "`.")), "a description is a sentence"
    if field.name in GIVEN | SYSTEM_CALLS:
        assert field.name not in values
        return
    assert field.name in values, f"{field.name} is not on a Pi 4"
    assert field.accepts(values[field.name]), f"{field.name} is {values[field.name]!r}, not of the type {field.type}"
    if field.type == "timestamp":
        parse_rfc3339(str(values[field.name]))


def test_nothing_is_read_that_is_not_declared(values: dict[str, object]) -> None:
    assert set(values) <= {field.name for field in _fields()}


def test_doubles_and_integers_of_a_quantity_name_their_unit() -> None:
    plain = {"cpu.count", "memory.utilization", "disk.utilization", "wifi.link_quality"}  # counts, and shares from 0 to 1
    quantities = {field.name for field in _fields() if field.type in ("int", "double")}
    assert [name for name in quantities - plain if not name.endswith(UNITS)] == []


def test_what_changes_by_itself_is_volatile() -> None:
    by_itself = (
        "_now",
        "free_bytes",
        "available_bytes",
        "utilization",
        "load_1m",
        "celsius",
        "_dbm",
        "link_quality",
        "uptime_seconds",
    )
    too_long = {"packages"}  # for every report
    fields = [field for field in _fields() if field.name not in too_long]
    wrong = [field.name for field in fields if field.volatile != field.name.endswith(by_itself)]
    assert wrong == []


def test_a_machine_with_nothing_readable_is_no_error(tmp_path: Path) -> None:
    for provider in registry.fact_providers():
        provider.read(Machine(tmp_path))
