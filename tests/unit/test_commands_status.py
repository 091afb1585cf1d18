"""What became of a command, without a hub: rows, states, counts and exit codes out of results that devices wrote."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from edgeagent import wire
from edgeagent.command import Result
from edgeagent.direct import Stored
from edgeagent.fleet.commandstatus import FAILED, UNANSWERED, Answer, Row, answer_of, counts, exit_code, rows_of
from edgeagent.fleet.states import State

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
ID = "01KAJ8XG4Q2T9V5H3M7R6W1YZE"


def stored(device: str, data: bytes, *, command: str = ID) -> Stored:
    return Stored(f"edge.from.{device}.result.{command}", 7, NOW, data, False)


def answer(device: str, state: str, **more: object) -> Answer:
    found = answer_of(stored(device, wire.encode(Result(id=ID, state=state, **more))), ID)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_who_should_answer_waits_and_who_answered_is_there_though_not_expected() -> None:
    expected = {"pi-01": State.ONLINE, "pi-02": State.OFFLINE}
    rows = rows_of(
        expected,
        [answer("pi-01", "succeeded", exit_code=0), answer("pi-09", "failed", reason="it burns")],
        until=NOW.timestamp() + 60,
        now=NOW,
        others={"pi-09": State.SUSPECT},
    )
    assert [(row.id, row.state, row.device, row.expected) for row in rows] == [
        ("pi-01", "succeeded", State.ONLINE, True),
        ("pi-02", "waiting", State.OFFLINE, True),
        ("pi-09", "failed", State.SUSPECT, False),
    ]
    assert [row.is_over for row in rows] == [True, False, True] and rows[2].reason == "it burns"
    assert counts(rows) == {"succeeded": 1, "waiting": 1, "not meant": 1}
    assert exit_code(rows[:1] + rows[2:]) == 0, "whoever was not meant fails nothing"


def test_of_whom_the_reports_do_not_tell_the_answer_does() -> None:
    said = [answer("pi-01", "succeeded"), answer("pi-02", "failed")]
    rows = rows_of({"pi-01": State.ONLINE}, said, until=NOW.timestamp() + 60, now=NOW, perhaps={"pi-02", "pi-03"})
    assert [(row.id, row.expected) for row in rows] == [("pi-01", True), ("pi-02", True)] and exit_code(rows) == FAILED


@pytest.mark.parametrize(("late", "state"), [(-1, "waiting"), (4, "waiting"), (6, "no answer")])
def test_after_the_last_moment_and_some_grace_there_is_no_answer(late: float, state: str) -> None:
    (row,) = rows_of({"pi-01": State.OFFLINE}, [], until=NOW.timestamp(), now=NOW + timedelta(seconds=late))
    assert row.state == state and row.is_over == (state == "no answer")


def test_one_that_runs_is_not_over_however_late_it_is() -> None:
    (row,) = rows_of({"pi-01": State.ONLINE}, [answer("pi-01", "running")], until=0, now=NOW)
    assert (row.state, row.is_over) == ("running", False)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["succeeded", "succeeded"], 0),
        (["succeeded", "failed"], FAILED),
        (["succeeded", "unknown", "waiting"], FAILED),
        (["cancelled"], FAILED),
        (["succeeded", "waiting"], UNANSWERED),
        (["succeeded", "running"], UNANSWERED),
        (["no answer"], UNANSWERED),
        ([], UNANSWERED),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_the_exit_code_says_whether_all_is_well(states: list[str], code: int) -> None:
    assert exit_code([Row(id=f"pi-{index}", state=state) for index, state in enumerate(states)]) == code


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rubbish",
        b'{"id":"x","state":"done"}',
        b'{"id":"x","state":"failed","value":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"\xff",
    ],
    ids=["empty", "rubbish", "state", "deep", "bytes"],
)
def test_what_makes_no_sense_is_said_and_is_no_success(data: bytes) -> None:
    found = answer_of(stored("pi-01", data), ID)
    assert found is not None and found.result is None
    (row,) = rows_of({"pi-01": State.ONLINE}, [found], until=0, now=NOW)
    assert row.state == "unknown" and "makes no sense" in row.reason and exit_code([row]) == FAILED


@pytest.mark.parametrize(
    "subject",
    [
        "edge.from.*.result." + ID,
        f"edge.from.pi-01.result.{ID[:-1]}0",
        f"edge.from.pi-01.report.{ID}",
        f"edge.from.pi-01.result.{ID}.x",
    ],
)
def test_nobody_elses_result_counts(subject: str) -> None:
    data = wire.encode(Result(id=ID, state="succeeded"))
    assert answer_of(Stored(subject, 7, NOW, data, False), ID) is None


def test_as_json_everything_is_there() -> None:
    (row,) = rows_of(
        {}, [answer("pi-01", "succeeded", output="up 3 days\n", output_bytes=10, exit_code=0, value={"a": 1})], until=0, now=NOW
    )
    found = row.as_dict()
    assert (found["state"], found["output"], found["exit_code"], found["value"]) == ("succeeded", "up 3 days\n", 0, {"a": 1})
    assert found["device"] is None and found["reason"] == "" and found["ended"] is None
