"""The judge of soak runs sees what is wrong, and nothing else."""

from __future__ import annotations

import pytest

from tests.soak.judging import Call, absences, config_problems, kinds, late


def call(begun: float, ended: float, error: str = "", *answered: str, kind: str = "fleet query") -> Call:
    return Call(kind, begun, ended, error, frozenset(answered))


@pytest.mark.parametrize(
    ("calls", "longest"),
    [
        ([call(0, 1), call(2, 5)], 3),
        ([call(0, 1), call(2, 3, "away"), call(4, 5, "away"), call(6, 8), call(9, 10)], 6),
        ([call(0, 1), call(2, 3, "away"), call(4, 9, "away")], 7),
        ([call(0, 4, "away")], 4),
    ],
    ids=["slow", "failed, and came back", "failed to the end", "never came"],
)
def test_a_kind_of_call_fails_from_its_beginning_until_one_has_succeeded(calls: list[Call], longest: float) -> None:
    assert kinds(calls)[0].longest == longest
    assert late(calls, longest) == [] and len(late(calls, longest - 0.1)) == 1


def test_kinds_do_not_excuse_each_other() -> None:
    calls = [call(0, 1, "away", kind="cmd run"), call(2, 3, kind="fleet ls"), call(20, 21, kind="cmd run")]
    assert [(kind.name, kind.failed, kind.longest) for kind in kinds(calls)] == [("cmd run", 1, 21), ("fleet ls", 0, 1)]


def test_a_device_is_absent_for_as_long_as_no_query_has_its_answer() -> None:
    calls = [
        call(0, 1, "", "pi-01", "pi-02"),
        call(3, 4, "", "pi-01"),
        call(5, 6, "away"),
        call(8, 9, "", "pi-01", "pi-02"),
        call(9, 12, "", "pi-02"),
    ]
    assert absences(calls, ["pi-01", "pi-02", "pi-03"]) == {"pi-01": 5, "pi-02": 8, "pi-03": 12}


@pytest.mark.parametrize(
    ("kept", "applied", "words"),
    [
        (["n1"], 5, []),
        (["n1", "n2"], 5, []),
        (["n2"], 5, ["config: 1 acknowledged and lost: n1"]),
        (["n1", "n2", "n2"], 5, ["config: 1 twice: n2"]),
        (["n1", "x"], 5, ["config: 1 made by nobody: x"]),
        (["n1"], 4, ["config: not followed by pi-01"]),
    ],
    ids=["whole", "unacknowledged", "lost", "twice", "invented", "not followed"],
)
def test_changes_of_the_configuration(kept: list[str], applied: int, words: list[str]) -> None:
    row = {"id": "pi-01", "desired": 5, "applied": applied, "error": ""}
    assert config_problems({"n1": True, "n2": False}, kept, [row]) == words
