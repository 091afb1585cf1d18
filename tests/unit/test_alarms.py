"""What is made of nats-server's words: which count, how many make one event, and that nobody fills our memory with them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent.hub import alarms, alarmtally
from edgeagent.hub.alarms import ALARMS
from edgeagent.hub.alarmtally import Due, Tally
from edgeagent.hub.streams import SEVERITIES

LOGIN, ELECTION = alarms.kinds()["hub.auth_errors"], alarms.kinds()["hub.jetstream.unrest"]
QUORUM = alarms.kinds()["hub.jetstream.quorum_lost"]


def read(kind: str, message: Any, word: str = "EDGE_COMMANDS") -> str | None:
    return alarms.read(alarms.kinds()[kind], f"a.{word}", message if isinstance(message, bytes) else json.dumps(message).encode())


def test_every_row_says_what_it_is_and_what_to_do() -> None:
    assert len(alarms.kinds()) == len(ALARMS) == len({alarm.subject for alarm in ALARMS})
    for alarm in ALARMS:
        assert alarm.kind.startswith("hub.") and alarm.remedy and alarm.severity in SEVERITIES
        assert "{" not in alarm.text.format(count=1, who="x")


def test_to_whom_it_happened() -> None:
    client = {"host": "203.0.113.7", "name": "x"}
    assert (
        read("hub.auth_errors", {"client": client, "reason": "Authentication Failure"}) == "203.0.113.7: Authentication Failure"
    )
    assert read("hub.slow_consumer", {"client": client, "reason": "Slow Consumer (Pending Bytes)"}) == "x"
    assert read("hub.slow_consumer", {"client": client, "reason": "Client Closed"}) is None
    assert read("hub.jetstream.quorum_lost", {"stream": "EDGE_COMMANDS"}) == "EDGE_COMMANDS"
    assert read("hub.jetstream.given_up", {"stream": "S", "consumer": "c"}) == "c of S"
    assert read("hub.server_stopped", {"server": {"name": "hub-2"}}) == "hub-2"
    assert read("hub.server_stopped", {"server": {}}) == "a server of the hub"
    assert read("hub.jetstream.out_of_storage", {"server": "hub-2"}) == "hub-2"


@pytest.mark.parametrize("odd", [b"", b"\xff", b"[]", b"7", b'{"client":7}', b'{"client":{"jwt":7,"host":[]}}', b"[" * 100_000])
def test_what_makes_no_sense_ends_nothing(odd: bytes) -> None:
    for alarm in ALARMS:
        read(alarm.kind, odd)


def test_what_others_chose_is_short_and_forges_nothing() -> None:
    said = read("hub.auth_errors", {"client": {"host": "\x1b[2J" + "x" * 999}, "reason": "\n{who}{count.__class__}"})
    assert said and said.isprintable() and len(said) < 200 and "\n" not in said
    tally = Tally(0)
    tally.add(LOGIN, said, 0)
    (due,) = tally.due(0)
    assert "{count.__class__}" in due.text  # it is text, not a template


def due(tally: Tally, now: float) -> list[Due]:
    found = tally.due(now)
    for each in found:
        tally.told(each.alarm.kind, now)
    return found


def test_many_are_one_event_with_the_one_who_did_most() -> None:
    tally = Tally(patience=3)
    for number in range(100):
        tally.add(LOGIN, "10.0.0.1" if number % 3 else "10.0.0.2", 0.01 * number)
    assert tally.next_due(1) == 2 and due(tally, 2.9) == []
    (one,) = due(tally, 3)
    assert (one.severity, one.times, one.who) == ("warning", 100, "10.0.0.1") and "100 logins" in one.text
    assert due(tally, 1000) == [] and tally.next_due(1000) is None
    assert tally.totals == {"hub.auth_errors": 100}


def test_what_goes_on_is_told_less_and_less_often_and_what_comes_again_later_at_once() -> None:
    tally, told = Tally(patience=3), list[float]()
    for second in range(4 * 3600):
        tally.add(LOGIN, "10.0.0.1", second)
        told += [second for _ in due(tally, second)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(told)]
    assert gaps[0] >= 60 and gaps == sorted(gaps) and gaps[-1] <= 3610 and len(told) < 12
    tally.add(LOGIN, "10.0.0.1", 100_000)
    assert len(due(tally, 100_003)) == 1


def test_few_are_less_bad_and_an_election_is_none_at_all() -> None:
    tally = Tally(patience=3)
    tally.add(LOGIN, "10.0.0.1", 0)
    for stream in range(16):  # a server was restarted: each stream has another leader
        tally.add(ELECTION, f"S{stream}", 0)
    assert [(one.alarm.kind, one.severity) for one in due(tally, 3)] == [("hub.auth_errors", "info")]
    assert due(tally, 61) == [] and tally.next_due(61) is None
    for again in range(5):
        tally.add(ELECTION, "S1", 70 + again)
    assert [one.who for one in due(tally, 80)] == ["S1"]


def test_what_is_too_little_is_looked_at_again_when_it_is_forgotten() -> None:
    tally = Tally(patience=3)
    tally.add(ELECTION, "EDGE_COMMANDS", 10.0)
    assert not due(tally, 13.0) and tally.next_due(13.0) == alarmtally.MINUTE - 3
    for second in range(ELECTION.least - 1):
        tally.add(ELECTION, "EDGE_COMMANDS", 20.0 + second)
    assert tally.next_due(24.0) == 0.0 and due(tally, 24.0), "enough came in time"
    tally.add(ELECTION, "EDGE_COMMANDS", 1000.0)
    assert not due(tally, 1000.0 + alarmtally.MINUTE) and tally.next_due(1000.0 + alarmtally.MINUTE) is None, "it is forgotten"


def test_what_another_instance_told_is_not_told_again() -> None:
    first, second = Tally(2), Tally(4)
    for tally in (first, second):
        tally.add(QUORUM, "EDGE_COMMANDS", 0)
    assert len(due(first, 2)) == 1
    second.told("hub.jetstream.quorum_lost", 2.01)
    second.told("app.something", 2.01)
    assert due(second, 4) == due(second, 1000) == []


def test_a_flood_from_everywhere_takes_no_memory_and_hides_nobody_who_does_most() -> None:
    tally = Tally(patience=3)
    for number in range(20_000):
        tally.add(LOGIN, f"2001:db8::{number:x}", 0)
        if number % 4 == 0:
            tally.add(LOGIN, "10.0.0.1", 0)
    assert len(tally._kinds["hub.auth_errors"].talkers) <= alarmtally.TALKERS
    (one,) = due(tally, 3)
    assert one.who == "10.0.0.1" and one.times == 25_000


def test_the_page_about_monitoring_has_every_row() -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    for alarm in ALARMS:
        assert f"| `{alarm.kind}` | {alarm.severity}" in page and f"| `{alarm.subject}` |" in page, alarm.kind
