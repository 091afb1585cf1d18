"""What `edgeagent hub move` makes of two hubs: what one lacks, where people reach it, and who has come there."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from edgeagent import subjects, wire
from edgeagent.direct import Stored
from edgeagent.errors import UsageProblem
from edgeagent.fleet.configversion import Version
from edgeagent.fleet.hubheads import Heads, lacks
from edgeagent.fleet.hubmoves import KEY, Move, Where, check_entries, client_url, entries_before, rows_of, trusted_url
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.states import Known
from edgeagent.hub.owner import Owner
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import signers
from edgeagent.trust.pins import Pins
from tests.support.configuring import document

A, B = "tls://a:7422", "tls://b1:7422,tls://b2:7422"
NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
CANARY = Scope.group("canary")


@pytest.mark.parametrize(
    ("entry", "current", "found"),
    [
        ("tls://b:7422", "tls://a:4222", "tls://b:4222"),
        (B, "tls://a1:4222,tls://a2:4222", "tls://b1:4222,tls://b2:4222"),
        ("tls://[fd00::1]:7422", "nats://a:4333", "nats://[fd00::1]:4333"),
        ("wss://b.example", "wss://a.example", "wss://b.example"),
    ],
)
def test_where_people_probably_reach_it(entry: str, current: str, found: str) -> None:
    assert client_url(entry, current) == found


def test_no_device_tells_a_person_where_to_log_in() -> None:
    assert trusted_url([A], "tls://x:4222", is_hearsay=False) == "tls://a:4222"
    with pytest.raises(UsageProblem, match=r"from themselves alone \(tls://evil:7422\)"):
        trusted_url(["tls://evil:7422"], "tls://x:4222", is_hearsay=True)
    with pytest.raises(UsageProblem, match="not known where"):
        trusted_url([], "tls://x:4222", is_hearsay=True)


def test_what_no_device_would_take_is_said_at_once() -> None:
    check_entries([A, B])
    with pytest.raises(UsageProblem, match="must be an address such as"):
        check_entries(["b.example"])


def version(revision: int, **more: Any) -> Version:
    return Version(scope=CANARY, revision=revision, **more)


def test_what_was_said_before() -> None:
    on_a, on_b = ({"hub": {"urls": [entry]}} for entry in (A, B))
    history = [version(1, values={}), version(2, values=on_a), version(3, values=on_b), version(4, values={**on_b, "app": {}})]
    assert entries_before(history) == [A]
    assert entries_before(history[2:]) is None and entries_before([history[0], history[1]]) is None
    assert entries_before([history[1], version(3, problem="forged"), history[2]]) == [A]
    for nothing in ([], history[:1]):
        with pytest.raises(UsageProblem, match="nobody was sent anywhere"):
            entries_before(nothing)


# ---- who is where ---------------------------------------------------------------------------------------------------------------

MOVE = Move(ids=["pi-1"], entries=[B], present=frozenset({"pi-1"}), since=NOW, scope=CANARY, generation=7)


def known(at: str, *, heard: datetime = NOW, desired: int = 7, applied: int = 7, error: str = "", **failed: str) -> Roster:
    state = wire.ScopeState(desired=desired, applied=applied, error=error)
    hub = wire.HubLink(url=at, failed={{"b": B}.get(name, name): why for name, why in failed.items()})
    report = wire.Report(id="pi-1", facts={}, config=wire.ConfigState(scopes={str(CANARY): state}), hub=hub)
    return Roster(NOW + timedelta(seconds=5), {"pi-1": Known("pi-1", report=report, reported=heard, heard=heard)})


BEFORE = NOW - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("here", "there", "where", "why"),
    [
        (known(A), known(B), Where.MOVED, ""),
        (None, known(B), Where.MOVED, ""),
        (known(A), known(B, heard=BEFORE), Where.WAITING, ""),  # what the backup had
        (known(A), known(A), Where.WAITING, ""),
        (known(A, b="nothing listens there"), None, Where.STAYED, f"{B}: nothing listens there"),
        (known(A, b="x", desired=6, applied=6), None, Where.WAITING, ""),  # of another time
        (known(A, other="nothing listens there"), None, Where.WAITING, ""),
        (known(A, applied=6, error="nobody signed it"), None, Where.STAYED, f"{KEY}: nobody signed it"),
        (known(A, error=f"{KEY}: it is without TLS"), None, Where.STAYED, f"{KEY}: {KEY}: it is without TLS"),
        (known(A, error="app.x: bad"), None, Where.WAITING, ""),
        (None, None, Where.WAITING, ""),
    ],
)
def test_where_a_device_is(here: Roster | None, there: Roster | None, where: Where, why: str) -> None:
    (row,) = rows_of(MOVE, here, there).rows
    assert (row.where, row.why) == (where, why)


def test_who_was_not_online_is_not_waited_for() -> None:
    move = Move(ids=["pi-1"], entries=[B], present=frozenset(), since=NOW, scope=CANARY, generation=7)
    assert rows_of(move, None, None).of(Where.AWAY) == ["pi-1"]


@pytest.fixture(scope="module")
def keyring() -> Owner:
    return Owner.create("berlin")


# ---- what the other one lacks ---------------------------------------------------------------------------------------------------


def stored(subject: str, data: bytes, sequence: int = 1, *, deleted: bool = False) -> Stored:
    return Stored(subject, sequence, NOW, data, deleted)


def test_what_the_new_hub_lacks(keyring: Owner) -> None:
    olga = keyring.operator_credentials("olga", "operator")
    fleet, canary = subjects.document(FLEET_ALL), subjects.document(CANARY)
    one, two = (document(olga, FLEET_ALL, {}, number=number) for number in (1, 2))
    entries = [subjects.command_log(FLEET_ALL, number) for number in (1, 2)]
    here = Heads(
        documents={fleet: stored(fleet, two), canary: stored(canary, b"rubbish")},
        commands={subject: stored(subject, b"x") for subject in entries},
        devices=frozenset({"pi-1", "pi-2"}),
    )
    there = Heads(
        documents={fleet: stored(fleet, one)}, commands={entries[0]: stored(entries[0], b"x")}, devices=frozenset({"pi-1"})
    )
    found = lacks(here, there)
    assert (found.documents, found.commands, found.others, found.devices) == ([fleet], [entries[1]], [], ["pi-2"])
    assert len(found.lines()) == 2 and not lacks(here, here) and not lacks(there, here)
    parted = Heads(documents=here.documents, commands={subject: stored(subject, b"y") for subject in entries})
    assert lacks(here, parted).others == entries


def test_an_older_list_of_who_may_sign_is_lacking(keyring: Owner) -> None:
    admin = keyring.operator_credentials("anna", "admin")
    first = signers.changed(admin, None, now=1000.0)
    second = signers.changed(admin, first, now=2000.0)
    subject = subjects.document(subjects.SIGNERS)
    old, new = (Heads(signers=stored(subject, data)) for data in (first, second))
    assert lacks(new, old).signers and lacks(old, Heads()).signers and not lacks(old, new) and not lacks(Heads(), new)


def test_a_list_that_nobody_of_ours_signed_is_not_brought_over(keyring: Owner) -> None:
    """Its number is no proof: with a forged one the new hub could be written no true one any more."""
    ours, theirs = (
        signers.changed(owner.operator_credentials("anna", "admin"), None, now=now)
        for owner, now in ((keyring, 1000.0), (Owner.create("berlin"), 2000.0))
    )
    subject, pins = subjects.document(subjects.SIGNERS), Pins(generation=signers.number_of(ours))
    good, forged = (Heads(signers=stored(subject, data)) for data in (ours, theirs))
    assert lacks(good, Heads(), pins).signers and not lacks(forged, Heads(), pins).signers
