"""The journal of commands: what it keeps, in one step or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent import journalfile
from edgeagent.command import Result
from edgeagent.errors import Failed
from edgeagent.journal import FILE, KEEP_SECONDS, Journal
from edgeagent.journalhub import linked_to
from edgeagent.journalrows import Cancel, New, Noted, Position, Step, args_text, mark_of, permitted

ALL, BERLIN = "fleet.all", "group.berlin"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / FILE)
    yield made
    made.close()


def new(name: str, *, state: Any = "accepted", action: str = "ping", key: str = "U1", **more: Any) -> New:
    result = Result(id=name, state=state, action=action, nonce=f"nonce {name}", signer="olga")
    args = args_text(more.pop("args", {}))
    return New(result, args, mark_of(action, args), key, more.pop("not_after", 100), **more)


def take(journal: Journal, *whats: New | Cancel | None, scope: str = ALL, first: int = 1) -> list[tuple[int, str]]:
    steps = [Step(number, f"digest {number}", 100, what) for number, what in enumerate(whats, first)]
    return journal.take(scope, "log", steps).problems


def state(journal: Journal, name: str) -> str:
    found = journal.command(name)
    return found.result.state if found else ""


def ids(commands: Any) -> list[str]:
    return [command.id for command in commands]


def test_it_goes_on_where_it_was_after_it_was_closed(tmp_path: Path) -> None:
    first = Journal(tmp_path / FILE)
    assert first.position(ALL) is None and first.noted(ALL, 1) == ""
    take(first, new("a", args={"n": 1}), None)
    first.close()
    again = Journal(tmp_path / FILE)
    assert again.position(ALL) == Position("log", 2) and again.noted(ALL, 2) == "digest 2" and again.damaged == ""
    found = again.command("a")
    assert found and (found.args, found.scope, found.fence, found.result.nonce) == ({"n": 1}, ALL, None, "nonce a")
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    again.close()


def test_all_of_a_window_or_nothing(journal: Journal) -> None:
    bad = new("b")._replace(not_after="no number" * 10**6, splay_seconds=object())  # type: ignore[arg-type]
    with pytest.raises(Failed, match="keep the commands in"):
        take(journal, new("a"), bad)
    assert journal.command("a") is None and journal.position(ALL) is None
    take(journal, new("a"))
    assert state(journal, "a") == "accepted"


def test_the_same_command_of_another_log_changes_nothing(journal: Journal) -> None:
    take(journal, new("a"))
    journal.write(msgspec.structs.replace(new("a").result, state="succeeded"))
    assert take(journal, new("a"), scope=BERLIN) == []
    assert state(journal, "a") == "succeeded" and journal.position(BERLIN) == Position("log", 1)


@pytest.mark.parametrize("other", [{"key": "U2"}, {"args": {"n": 2}}, {"action": "reboot"}], ids=["signer", "args", "action"])
def test_another_command_under_the_same_id_is_a_problem(journal: Journal, other: dict[str, Any]) -> None:
    take(journal, new("a"))
    assert take(journal, new("a", **other), first=2) == [(2, "another command has its id, a")]


def test_a_cancel_ends_what_waits_and_stops_what_runs(journal: Journal) -> None:
    take(journal, new("a"), new("b"))
    journal.begin(msgspec.structs.replace(new("b").result, state="running"), "boot")
    taken = journal.take(ALL, "", [Step(3, "d", 100, Cancel("a", "olga")), Step(4, "d", 100, Cancel("b", "olga"))])
    assert taken.stop == ["b"] and state(journal, "a") == "cancelled" and journal.position(ALL) == Position("log", 4)
    found = journal.command("b")
    assert found and (found.cancelled_by, found.boot, found.begun, found.result.state) == ("olga", "boot", 1, "running")


def test_a_cancel_counts_before_its_command_in_its_scope_and_for_its_actions(journal: Journal) -> None:
    take(journal, Cancel("a", "olga"), Cancel("b", "olga", ("service.*",)), Cancel("c", "olga", ("service.*",)))
    take(journal, new("a"), new("b"), new("c", action="service.stop"), new("d", state="refused"), first=4)
    assert [state(journal, name) for name in "abcd"] == ["cancelled", "accepted", "cancelled", "refused"]
    take(journal, Cancel("e", "gustav"), scope=BERLIN)
    take(journal, new("e"), first=8)
    assert state(journal, "e") == "accepted"


def test_a_cancel_is_not_undone_by_that_of_another(journal: Journal) -> None:
    take(journal, Cancel("a", "olga", key="U1"), Cancel("a", "eve", ("service.*",), "U2"), new("a"))
    assert state(journal, "a") == "cancelled"


def test_a_cancel_by_one_who_may_not_is_a_problem_and_in_another_scope_nothing(journal: Journal) -> None:
    take(journal, new("a"))
    assert take(journal, Cancel("a", "lea", ("service.*",)), first=2) == [(2, "lea may not cancel ping")]
    assert take(journal, Cancel("a", "gustav"), scope=BERLIN) == [] and state(journal, "a") == "accepted"


def test_what_is_to_be_done_in_which_order(journal: Journal) -> None:
    take(journal, new("a"), new("b", concurrent=True), new("c"), new("d", state="refused"))
    assert ids(journal.unclaimed(2)) == ["a", "b"] and ids(journal.unsettled(9)) == ["d"]
    journal.fence([("a", 7), ("b", 8)])
    assert ids(journal.unclaimed(9)) == ["c"] and ids(journal.waiting(concurrent=True)) == ["b"]
    found = next(journal.waiting(concurrent=False))
    assert found and (found.id, found.fence) == ("a", 7)
    journal.settle([("d", 9)])
    assert journal.unsettled(9) == [] and journal.counts() == {"accepted": 3}
    journal.unclaim()
    assert ids(journal.unclaimed(9)) == ["a", "b", "c"]


def test_each_step_is_told_and_the_last_end_is_found(journal: Journal) -> None:
    told: list[dict[str, int]] = []
    journal.on_change = lambda: told.append(journal.counts())
    assert journal.last_ended() is None
    take(journal, new("a"), new("b"), new("c"))
    journal.begin(msgspec.structs.replace(new("b").result, state="running"), "boot")
    assert journal.last_ended() is None
    journal.write(msgspec.structs.replace(new("b").result, state="failed"))
    found = journal.last_ended()
    assert found and (found.id, found.state) == ("b", "failed")
    assert told == [{"accepted": 3}, {"accepted": 2, "running": 1}, {"accepted": 2, "failed": 1}]


def test_those_that_wait_come_in_order_however_many(journal: Journal) -> None:
    names = [f"{number:02}" for number in range(40)]
    take(journal, *(new(name, concurrent=name in ("07", "30")) for name in names))
    assert ids(journal.waiting(concurrent=False)) == [name for name in names if name not in ("07", "30")]
    assert ids(journal.waiting(concurrent=True)) == []
    journal.fence([("30", 1)])
    assert ids(journal.waiting(concurrent=True)) == ["30"]


def test_the_newest_of_those_that_do_the_same(journal: Journal) -> None:
    same = {"args": {"y": 1, "x": 2}}
    take(journal, new("a", **same), new("b", args={"x": 2, "y": 1}), new("c", args={"x": 3}), new("d", not_after=50, **same))
    first = journal.command("a")
    assert first and journal.newer(first, 60) == "b" and journal.newer(first, 40) == "d" and journal.newer(first, 100) == ""


def test_only_the_same_signer_in_the_same_scope_makes_one_needless(journal: Journal) -> None:
    take(journal, new("a"), new("b", key="U2"))
    take(journal, new("c"), scope=BERLIN)
    first = journal.command("a")
    assert first and journal.newer(first, 0) == ""
    take(journal, new("d"), first=3)
    assert journal.newer(first, 0) == "d"


def test_arguments_are_read_where_they_are_needed_and_kept_until_the_end(journal: Journal) -> None:
    take(journal, new("a", args={"n": 1}), new("b", args={"n": 2}, state="refused"))
    assert [each.args for each in (*journal.unclaimed(9), *journal.unsettled(9))] == [{}, {}]
    assert [each.args for each in journal.waiting(concurrent=False)] == [{"n": 1}]
    journal.write(msgspec.structs.replace(new("a").result, state="expired"))
    found = journal.command("a")
    assert found and found.args == {}
    assert take(journal, new("a", args={"n": 1}), scope=BERLIN) == [], "it is still known for the same"
    assert take(journal, new("a", args={"n": 3}), scope=BERLIN, first=2) == [(2, "another command has its id, a")]


def test_only_what_was_signed_is_noted(journal: Journal) -> None:
    journal.take(ALL, "log", [Step(5, "digest", 100), Step(6, "", 0), Step(7, "", 0)])
    assert journal.position(ALL) == Position("log", 7) and journal.noted(ALL, 6) == ""
    assert journal.noted_below(ALL, 7) == Noted(5, "digest") and journal.noted_below(ALL, 5) == Noted()


def test_a_file_of_another_version_is_set_aside(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE)
    other.execute("PRAGMA user_version = 1")
    other.execute("CREATE TABLE logs (x)")
    other.close()
    with pytest.raises(sqlite3.DatabaseError, match="of version 1"):
        journalfile.opened(tmp_path / FILE)
    made = Journal(tmp_path / FILE)
    assert "of version 1" in made.damaged and made.position(ALL) is None
    made.close()


def test_another_log_is_begun_and_outcomes_are_offered_again(journal: Journal) -> None:
    take(journal, new("a", state="expired"), new("b", state="expired", not_after=10))
    journal.settle([("a", 1), ("b", 2)])
    journal.begin_anew(ALL, Position("other", 3), 50)
    assert journal.position(ALL) == Position("other", 3) and journal.noted(ALL, 1) == ""
    assert ids(journal.unsettled(9)) == ["a"]


def test_a_log_that_was_seen_empty_is_known_and_one_that_was_read_stays(journal: Journal) -> None:
    journal.seen_empty(ALL)
    assert journal.position(ALL) == Position("", 0)
    journal.begin_anew(ALL, Position("log", 3), 50)
    journal.seen_empty(ALL)
    assert journal.position(ALL) == Position("log", 3)


def test_what_expired_long_ago_is_forgotten_but_for_the_newest(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.journal.KEEP_COMMANDS", 1)
    take(journal, new("a", state="expired"), new("b", state="expired"), Cancel("z", "olga"), new("c"), new("d", state="expired"))
    journal.settle([("a", 1), ("d", 2)])
    journal.prune(100 + KEEP_SECONDS)
    assert state(journal, "a") == "expired" and journal.noted(ALL, 1) == "digest 1"
    journal.prune(101 + KEEP_SECONDS)
    assert [state(journal, name) for name in "abcd"] == ["", "expired", "accepted", "expired"]
    assert [bool(journal.noted(ALL, number)) for number in range(1, 6)] == [False, False, False, False, True]


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 500)
    made = Journal(tmp_path / FILE)
    assert "was damaged" in made.damaged and made.position(ALL) is None
    made.close()
    assert (tmp_path / f"{FILE}.damaged").read_bytes().startswith(b"no database")


def test_pages_that_were_lost_are_noticed(tmp_path: Path) -> None:
    made = Journal(tmp_path / FILE)
    take(made, *[new(f"id {number}", args={"text": "x" * 500}) for number in range(200)])
    made.close()
    data = bytearray((tmp_path / FILE).read_bytes())
    data[8192:40960] = bytes(32768)
    (tmp_path / FILE).write_bytes(data)
    again = Journal(tmp_path / FILE)
    assert again.damaged
    again.close()


def test_a_file_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(Failed, match="keep the commands"):
        Journal(tmp_path / FILE)


def test_it_waits_for_the_disk_and_one_agent_has_it(tmp_path: Path, journal: Journal) -> None:
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    take(journal, None)
    other = sqlite3.connect(tmp_path / FILE, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM logs")
    other.close()


@pytest.mark.parametrize(
    ("limits", "action", "may"),
    [((), "reboot", True), (("service.*",), "service.stop", True), (("service.*",), "reboot", False), (("*",), "x", True)],
)
def test_limits_are_globs(limits: tuple[str, ...], action: str, may: bool) -> None:
    assert permitted(limits, action) is may


def test_another_hub_is_offered_what_has_ended_and_not_expired(tmp_path: Path) -> None:
    journal = Journal(tmp_path / FILE)
    take(journal, new("old", state="refused", not_after=50), new("a", state="refused"), new("waits"))
    journal.settle([("old", 1), ("a", 2)])
    assert not linked_to(journal, "tls://a", 60) and not linked_to(journal, "tls://a", 60)
    assert journal.unsettled(10) == []
    assert linked_to(journal, "tls://b", 60) and ids(journal.unsettled(10)) == ["a"]
    journal.settle([("a", 1)])
    journal.close()
    journal = Journal(tmp_path / FILE)
    assert not linked_to(journal, "tls://b", 60) and journal.unsettled(10) == []
    assert linked_to(journal, "tls://a", 60) and ids(journal.unsettled(10)) == ["a"]
    journal.close()
