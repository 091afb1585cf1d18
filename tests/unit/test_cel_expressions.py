from __future__ import annotations

import pytest

from edgeagent.cel.expressions import MAX_DEPTH, check, check_bounds, mark, prepare
from edgeagent.cel.names import read_names
from edgeagent.errors import UsageProblem
from edgeagent.wire import MAX_EXPRESSION_BYTES

KNOWN = ["memory.utilization", "memory.total_bytes", "cpu.count", "disks", "hostname"]
OPEN = ["labels", "app", "mcus"]


@pytest.mark.parametrize(
    "expression",
    [
        "memory.utilization > 0.8 && hostname == 'a'",
        "has(memory.total_bytes) || size(memory) > 1",
        "disks['/'].free_bytes < 10",
        "labels.anything == 'x' && app.kiosk.state == 'up'",
        "mcus.exists(x, x.firmware == labels.wanted)",
        "semver(app.v) < semver('1.2')",
    ],
)
def test_known_names(expression: str) -> None:
    check(expression, KNOWN, open_prefixes=OPEN)


def test_an_open_prefix_may_be_a_known_name_that_ends_in_a_dot() -> None:
    check("labels.x == 'a'", ["labels."])
    with pytest.raises(UsageProblem):
        check("labels.x == 'a'", ["cpu."])


@pytest.mark.parametrize(
    ("expression", "why", "remedy"),
    [
        ("memory.utilisation > 1", "there is no field memory.utilisation", "did you mean memory.utilization?"),
        ("lables.site == 'x'", "there is no field lables.site", "did you mean labels.site?"),
        ("zzz > 1", "there is no field zzz", "`edgeagent fleet fields` lists them"),
        ("mcus.exists(x, x.a == y)", "there is no field y", "  " + " " * 22 + "^"),
        ("labels.a.startWith('b')", "there is no function startWith", "did you mean startsWith?"),
        ("memoryx.y > 1 || cpu.count > 1", "there is no field memoryx.y", "^^^^^^^^^"),
    ],
)
def test_unknown_names(expression: str, why: str, remedy: str) -> None:
    with pytest.raises(UsageProblem) as problem:
        check(expression, KNOWN, open_prefixes=OPEN)
    assert problem.value.why == why
    assert remedy in problem.value.remedy


def test_bounds() -> None:
    check_bounds("(" * MAX_DEPTH + "'((((((('" + ")" * MAX_DEPTH)
    check_bounds("x" * MAX_EXPRESSION_BYTES)
    for bad in ("", " \n", "[" * (MAX_DEPTH + 1), "x" * (MAX_EXPRESSION_BYTES + 1), "é" * (MAX_EXPRESSION_BYTES // 2 + 1)):
        with pytest.raises(UsageProblem):
            check_bounds(bad)


def test_mark() -> None:
    assert mark("ab\n  cd && e\nf", 5, 2) == "    cd && e\n    ^^"
    assert mark("ab", 2) == "  ab\n    ^"
    assert mark("ab", 1, 9) == "  ab\n   ^"


def test_nulls_and_what_is_not_named_are_left_out() -> None:
    facts = {"a": {"b": None, "c": [None, {"d": None, "e": 0}]}, "f": None, "g": 1}
    assert prepare(facts, read_names("a.b + f > 1")) == {"a": {"c": [{"e": 0}]}}
    assert facts["a"] == {"b": None, "c": [None, {"d": None, "e": 0}]}


def test_has_can_always_look() -> None:
    assert prepare({}, read_names("has(a.b.c)")) == {"a": {"b": {}}}
    assert prepare({"a": {"b": 1, "d": 2}}, read_names("!has(a.b.c) && has(a.d)")) == {"a": {"b": 1, "d": 2}}
    assert prepare({}, read_names("a.b == 1")) == {}
