"""Entries of the logs as they are read back: who signed what where, and which of them are one command."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from edgeagent import subjects
from edgeagent.command import CANCEL, MAX_ENTRY_BYTES, Entry, Target, new_id
from edgeagent.direct import Stored
from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.fleet.commandentry import MAX_NUMBER, LogEntry, log_entry, made, place_of
from edgeagent.fleet.commandfind import one_of, time_of
from edgeagent.fleet.commandlogs import MAX_GAP, check_room, check_signed, place_after, signed_entry
from edgeagent.hub.owner import Owner
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust.creds import Credentials

OWNER = Owner.create("berlin")
BERLIN, PI_01 = Scope.group("berlin"), Scope.device("pi-01")
START = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)


def login(name: str, *groups: str, actions: tuple[str, ...] = ()) -> Credentials:
    return OWNER.operator_credentials(name, "operator", groups=groups, actions=actions)


OLGA, PAUL = login("olga"), login("paul")


def entry(action: str = "ping", **more: Any) -> Entry:
    values: dict[str, Any] = {
        "id": new_id(START.timestamp(), "U"),
        "log": "l",
        "floor": 1,
        "not_after": int(START.timestamp()) + 60,
        **more,
    }
    return Entry(action=action, **values)


def stored(scope: Scope, number: int, found: Entry, *, by: Credentials = OLGA, after: float = 0.0) -> Stored:
    data = signed_entry(by, scope, found, number=number, at=by.issued_at)
    return Stored(subjects.command_log(scope, number), 1, START + timedelta(seconds=after), data, False)


def read(item: Stored) -> LogEntry:
    found = log_entry(item)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("subject", "place"),
    [
        ("edge.to.fleet.all.cmd.1", (FLEET_ALL, 1)),
        ("edge.to.group.berlin.cmd.12", (BERLIN, 12)),
        ("edge.to.group.berlin.cmd.0", None),
        ("edge.to.group.berlin.cmd.01", None),
        ("edge.to.group.berlin.cmd.-1", None),
        ("edge.to.group.berlin.cmd.²", None),
        ("edge.to.group.berlin.cmd.x", None),
        ("edge.to.group.berlin.cmd.9999999999999999999", None),
        ("edge.to.group.berlin.query", None),
    ],
)
def test_a_place_in_a_log_is_a_scope_and_a_number(subject: str, place: tuple[Scope, int] | None) -> None:
    assert place_of(subject) == place


def test_an_entry_proves_who_signed_it_for_where() -> None:
    good = stored(BERLIN, 3, entry(note="why"))
    found = read(good)
    assert (found.scope, found.number, found.by, found.problem) == (BERLIN, 3, "olga", "")
    assert found.entry is not None and found.entry.note == "why"
    for subject in (subjects.command_log(BERLIN, 4), subjects.command_log(FLEET_ALL, 3)):
        assert "it was signed as command 3 for group.berlin" in read(good._replace(subject=subject)).problem
    envelope = json.loads(good.data)
    forged = json.dumps({**envelope, "body": envelope["body"].replace("why", "lie")}).encode()
    assert "signature is not olga's" in read(good._replace(data=forged)).problem and read(good._replace(data=forged)).by == ""
    for rubbish in (
        b"",
        b"rubbish",
        json.dumps({**envelope, "body": "{}"}).encode(),
        json.dumps({**envelope, "body": "\ud800"}).encode(),
    ):
        assert "it is no command" in read(good._replace(data=rubbish)).problem


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "*"},
        {"id": "\x9b31m"},
        {"id": ""},
        {"not_after": 10**17},
        {"not_after": 0},
        {"splay_seconds": 1e9},
        {"action": ""},
        {"action": "x" * 101},
    ],
    ids=lambda wrong: "-".join(wrong),
)
def test_what_no_device_would_follow_is_no_command(wrong: dict[str, Any]) -> None:
    found = read(stored(BERLIN, 1, entry(**wrong)))
    assert "impossible" in found.problem and made([found]) == []


def signed(number: int, *, problem: str = "") -> LogEntry:
    return LogEntry(BERLIN, number, START, entry(), problem=problem)


@pytest.mark.parametrize(
    ("entries", "number"),
    [
        ([signed(7), signed(8, problem="nobody's")], 9),
        ([signed(7), signed(7 + MAX_GAP, problem="nobody's")], 8 + MAX_GAP),
        ([signed(7), signed(8 + MAX_GAP, problem="nobody's")], 8),
        ([signed(7), signed(9, problem="nobody's"), signed(10**12 - 2, problem="nobody's")], 10),
        ([signed(10**12 - 2, problem="nobody's")], 1),
        ([signed(10**11), signed(7)], 10**11 + 1),
    ],
    ids=["beside", "near", "far", "near-and-far", "only-far", "signed"],
)
def test_numbers_that_nobody_signed_do_not_end_a_log(entries: list[LogEntry], number: int) -> None:
    place = place_after(entries)
    assert place is not None and place.number == number


def test_a_log_at_its_end_says_so() -> None:
    check_room(BERLIN, MAX_NUMBER - 1)
    with pytest.raises(Failed, match=r"the log of group\.berlin is at its end.*-d"):
        check_room(BERLIN, MAX_NUMBER)
    assert place_after([]) is None


def test_a_command_is_found_by_how_its_id_begins() -> None:
    ping, other = entry(), entry("reboot", id="01KAJ8XG4Q2T9V5H3M7R6W1YZE")
    commands = made([read(stored(BERLIN, 1, ping)), read(stored(BERLIN, 2, other))])
    assert one_of(commands, "01kaj8").id == other.id and one_of(commands, ping.id).id == ping.id
    with pytest.raises(UsageProblem, match=rf"2 begin so: .*{ping.id}.*more of its id"):
        one_of(commands, "01")
    with pytest.raises(UsageProblem, match="no such command"):
        one_of(commands, "01KAJ9")
    made_at = time_of(ping.id)
    assert made_at is not None and abs((made_at - START).total_seconds()) < 1
    assert time_of(ping.id[:6]) is not None and (time_of(ping.id[:6]) or made_at) <= made_at
    assert [time_of(wrong) for wrong in ("01", "01KAJU", "01KAJ8XG4Q2T9V5H3M7R6W1YZEE", "")] == [None] * 4


def test_a_command_in_several_logs_is_one() -> None:
    one = entry("reboot", target=Target(labels={"site": "berlin"}), splay_seconds=60.0)
    other = entry("ping")
    items = [stored(PI_01, 1, one, after=1), stored(BERLIN, 5, one), stored(BERLIN, 6, other, after=9)]
    newest, oldest = made(map(read, items))
    assert newest.id == other.id and oldest.id == one.id
    assert oldest.scopes == (BERLIN, PI_01) and oldest.selector == "-g berlin -d pi-01 -l site=berlin"
    assert (oldest.by, oldest.splay_seconds, oldest.until) == ("olga", 60.0, one.not_after)


def test_another_persons_entry_of_the_same_id_does_not_count() -> None:
    first = entry("ping")
    taken = msgspec.structs.replace(first, action="reboot")
    (found,) = made([read(stored(BERLIN, 1, first)), read(stored(FLEET_ALL, 1, taken, by=PAUL, after=1))])
    assert (found.action, found.by, found.scopes) == ("ping", "olga", (BERLIN,))


def test_who_cancelled_it_and_when_whatever_the_order() -> None:
    first = entry("exec", args={"argv": ["x"]})
    cancel = entry(CANCEL, args={"id": first.id})
    items = [read(stored(BERLIN, 2, cancel, by=PAUL, after=3)), read(stored(BERLIN, 1, first))]
    (found,) = made(items)
    assert (found.cancelled_by, found.cancelled) == ("paul", START + timedelta(seconds=3))
    forged = items[0]._replace(problem="its signature is not paul's")
    (found,) = made([forged, items[1]])
    assert found.cancelled_by == ""


@pytest.mark.parametrize(
    ("target", "scopes", "words"),
    [
        (Target(), (FLEET_ALL,), "--all"),
        (Target(devices=["pi-01"]), (BERLIN,), "-d pi-01"),
        (Target(where="a > 1"), (FLEET_ALL,), "--where 'a > 1'"),
    ],
    ids=["all", "devices", "where"],
)
def test_whom_it_is_for_reads_as_one_would_type_it(target: Target, scopes: tuple[Scope, ...], words: str) -> None:
    one = entry(target=target)
    assert made([read(stored(scope, 1, one)) for scope in scopes])[0].selector == words


def test_what_is_too_large_or_no_json_is_not_signed() -> None:
    with pytest.raises(UsageProblem, match=rf"{MAX_ENTRY_BYTES:,} fit"):
        signed_entry(OLGA, BERLIN, entry(args={"x": "y" * MAX_ENTRY_BYTES}), number=1, at=0)
    with pytest.raises(UsageProblem, match="its arguments"):
        signed_entry(OLGA, BERLIN, entry(args={"x": "\ud800"}), number=1, at=0)


def test_what_devices_would_not_follow_is_known_before_it_is_sent() -> None:
    limited = login("gus", "berlin", actions=("service.*", "ping"))
    data = signed_entry(limited, BERLIN, entry(), number=1, at=limited.issued_at)
    signature = check_signed(limited, BERLIN, data)
    assert signature.may("service.restart") and signature.may("ping") and not signature.may("reboot")
    with pytest.raises(UsageProblem, match="command the whole fleet: this login is limited to the groups berlin"):
        check_signed(limited, FLEET_ALL, signed_entry(limited, FLEET_ALL, entry(), number=1, at=limited.issued_at))
    with pytest.raises(Refused, match=r"before olga's login was issued.*clock"):
        check_signed(OLGA, BERLIN, signed_entry(OLGA, BERLIN, entry(), number=1, at=OLGA.issued_at - 10_000))
