"""What to do with the head of a log: every way in which the hub may have changed, or may be lying."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest

from edgeagent import subjects, wire
from edgeagent.command import Entry, digest
from edgeagent.direct import Stored
from edgeagent.journalrows import Position
from edgeagent.patterns.commandlog import MAX_EXPIRED, MAX_UNSIGNED_GAP, Head, Plan, at_cursor, head_of, number_of, plan
from edgeagent.subjects import FLEET_ALL
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import sign

AT = Position("log", 10)


@pytest.mark.parametrize(
    ("position", "noted", "head", "wanted"),
    [
        pytest.param(None, "", Head(7, "d", "log", 3), Plan(3, "log", 3, anew=True), id="never read"),
        pytest.param(None, "", Head(7, "d"), Plan(1, "", 7, anew=True), id="never read, and unsigned"),
        pytest.param(None, "", Head(MAX_UNSIGNED_GAP + 1, "d"), None, id="never read, unsigned and far away"),
        pytest.param(AT, "", Head(12, "d", "log", 1), Plan(11, "log", 1), id="new entries"),
        pytest.param(AT, "", Head(99, "d", "log", 50), Plan(11, "log", 50), id="also what has expired, to say so"),
        pytest.param(AT, "", Head(2099, "d", "log", 2050), Plan(2050 - MAX_EXPIRED, "log", 2050), id="but no more than that"),
        pytest.param(
            Position("", 0), "", Head(9, "d", "log", 5), Plan(1, "log", 5), id="in a log that was empty, from its beginning"
        ),
        pytest.param(AT, "d", Head(10, "d", "log", 1), None, id="nothing new"),
        pytest.param(AT, "d", Head(8, "d", "log", 1), None, id="a server that lags behind"),
        pytest.param(AT, "d", Head(10, "e", "log", 4), Plan(4, "log", 4, anew=True), id="the last one was replaced"),
        pytest.param(AT, "d", Head(8, "e", "log", 4), Plan(4, "log", 4, anew=True), id="an older copy went on"),
        pytest.param(AT, "", Head(8, "d", "log", 4), Plan(4, "log", 4, anew=True), id="one that was never noted"),
        pytest.param(AT, "d", Head(8, "e"), None, id="replaced by what nobody signed"),
        pytest.param(AT, "", Head(1, "d", "new", 1), Plan(1, "new", 1, anew=True), id="another log"),
        pytest.param(AT, "", Head(30, "d", "new", 20), Plan(20, "new", 20, anew=True), id="another log that is longer"),
        pytest.param(AT, "", Head(12, "d"), Plan(11, "log", 12), id="an unsigned head"),
        pytest.param(AT, "", Head(11 + MAX_UNSIGNED_GAP, "d"), None, id="an unsigned head that is far away"),
        pytest.param(Position("", 3), "", Head(4, "d", "log", 1), Plan(4, "log", 1), id="the first head that is signed"),
    ],
)
def test_what_is_read(position: Position | None, noted: str, head: Head, wanted: Plan | None) -> None:
    assert plan(position, noted, head) == wanted


def test_another_entry_at_the_cursor_has_everything_read_again() -> None:
    assert at_cursor(Plan(11, "log", 5), Head(12, "d", "log", 5)) == Plan(5, "log", 5, anew=True)
    far = Plan(11, "log", 5)
    assert at_cursor(far, Head(11 + MAX_UNSIGNED_GAP, "d")) is far


@pytest.mark.parametrize(
    ("subject", "number"),
    [
        ("edge.to.fleet.all.cmd.7", 7),
        ("edge.to.fleet.all.cmd.x", 0),
        ("edge.to.fleet.all.cmd.-7", 0),
        ("edge.to.fleet.all.cmd.²", 0),
        (f"edge.to.fleet.all.cmd.{10**20}", 0),
    ],
)
def test_the_number_of_an_entry(subject: str, number: int) -> None:
    assert number_of(subject) == number


ROLE = KeyPair.generate("account")
PINS = Pins(signers={ROLE.public: "operator"})


def stored(*, number: int = 5, floor: int = 2, log: str = "log", at: int = 5, issuer: KeyPair = ROLE) -> Stored:
    key, now = KeyPair.generate("user"), int(time.time())
    token = jwt.scoped_user(
        issuer, subject=key.public, name="olga", account=ROLE.public, issued_at=now, expires_at=now + 60, tags=[]
    )
    body = wire.encode(Entry(id="A", action="ping", log=log, floor=floor, not_after=now))
    data = sign(Credentials(token, key.seed), kind="command", scope=FLEET_ALL, number=number, at=now, body=body)
    return Stored(subjects.command_log(FLEET_ALL, at), 1, datetime.now(timezone.utc), data, deleted=False)


@pytest.mark.parametrize(("floor", "kept"), [(2, 2), (-4, 1), (99, 5)])
def test_a_signed_head_says_what_the_log_is(floor: int, kept: int) -> None:
    found = stored(floor=floor)
    assert head_of(FLEET_ALL, found, PINS) == Head(5, digest(found.data), "log", kept)


@pytest.mark.parametrize(
    "found",
    [stored(number=4), stored(issuer=KeyPair.generate("account")), stored(log=""), stored()._replace(data=b"rubbish")],
    ids=["another number", "a stranger", "no log", "rubbish"],
)
def test_a_head_that_must_not_count_says_only_its_number(found: Stored) -> None:
    assert head_of(FLEET_ALL, found, PINS) == Head(5, digest(found.data))
