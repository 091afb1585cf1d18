"""What to do with the head of a log: every way in which the hub may have changed, or may be lying."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest

from edgeagent import subjects, wire
from edgeagent.command import Entry, digest
from edgeagent.direct import Stored
from edgeagent.journalrows import Position
from edgeagent.patterns.commandlog import (
    MAX_EXPIRED,
    MAX_GAP,
    NEAR,
    PORTION_BYTES,
    Head,
    Plan,
    anew,
    head_of,
    number_of,
    plan,
    portions,
)
from edgeagent.subjects import FLEET_ALL
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import sign

AT = Position("log", 2000)
FAR = 2001 + MAX_GAP


def part(first: int, stop: int) -> tuple[range, ...]:
    return (range(first, stop),)


@pytest.mark.parametrize(
    ("position", "noted", "head", "wanted"),
    [
        pytest.param(None, "", Head(7, "d", "log", 3), Plan(part(1, 7), "log", 3, 3, anew=True), id="never read"),
        pytest.param(
            None,
            "",
            Head(5000, "d", "log", 5000),
            Plan(part(4000, 5000), "log", 5000, 5000, anew=True),
            id="whatever its floor says",
        ),
        pytest.param(
            None,
            "",
            Head(50_000, "d", "log", 1),
            Plan(part(40_000, 50_000), "log", 49_000, 1, anew=True),
            id="but no more than so many",
        ),
        pytest.param(None, "", Head(7, "d"), Plan(part(1, 7), "", 7, 7, anew=True), id="never read, and unsigned"),
        pytest.param(
            None, "", Head(FAR, "d"), Plan(part(1, 1 + NEAR), "", FAR, FAR, anew=True), id="never read, unsigned and far away"
        ),
        pytest.param(AT, "", Head(2002, "d", "log", 1), Plan(part(2001, 2002), "log", 2001, 2001), id="new entries"),
        pytest.param(
            AT, "", Head(3500, "d", "log", 2050), Plan(part(2001, 3500), "log", 2500, 2001), id="also what has expired, to say so"
        ),
        pytest.param(
            AT,
            "",
            Head(5000, "d", "log", 5000),
            Plan(part(2001, 5000), "log", 5000, 5000 - MAX_EXPIRED),
            id="but no more than that",
        ),
        pytest.param(
            Position("", 0),
            "",
            Head(9, "d", "log", 5),
            Plan(part(1, 9), "log", 5, 1),
            id="in a log that was empty, from its beginning",
        ),
        pytest.param(
            AT,
            "",
            Head(10**14, "d", "log", 1),
            Plan((range(2001, 2001 + NEAR), range(10**14 - NEAR, 10**14)), "log", 10**14 - NEAR, 2001),
            id="a number that somebody chose",
        ),
        pytest.param(AT, "d", Head(2000, "d", "log", 1), None, id="nothing new"),
        pytest.param(AT, "d", Head(1998, "d", "log", 1), None, id="a server that lags behind"),
        pytest.param(
            AT, "d", Head(2000, "e", "log", 4), Plan(part(4, 2000), "log", 1000, 4, anew=True), id="the last one was replaced"
        ),
        pytest.param(AT, "d", Head(8, "e", "log", 4), Plan(part(1, 8), "log", 4, 4, anew=True), id="an older copy went on"),
        pytest.param(AT, "d", Head(1998, "e"), None, id="replaced by what nobody signed"),
        pytest.param(AT, "", Head(2000, "d"), None, id="rubbish that was read"),
        pytest.param(
            AT, "", Head(2002, "d", "new", 2002), Plan(part(2001, 2002), "new", 2002, 2001), id="another name for the log"
        ),
        pytest.param(AT, "", Head(2002, "d"), Plan(part(2001, 2002), "log", 2002, 2001), id="an unsigned head"),
        pytest.param(
            AT,
            "",
            Head(FAR + 1, "d"),
            Plan(part(2001, 2001 + NEAR), "log", FAR + 1, 2001),
            id="an unsigned head that is far away",
        ),
    ],
)
def test_what_is_read(position: Position | None, noted: str, head: Head, wanted: Plan | None) -> None:
    assert plan(position, 0, noted, head) == wanted


def test_after_a_number_that_somebody_chose_it_goes_on_where_the_others_are() -> None:
    gone_ahead, head = Position("log", 10**14), Head(2001, "d", "log", 1)
    assert plan(gone_ahead, 2000, "", head) == Plan(part(2001, 2001), "log", 2001, 2001)
    assert plan(gone_ahead, 0, "", head) == anew(head), "when the others are forgotten"


def test_a_portion_is_small_or_one_entry() -> None:
    large, small = b"x" * PORTION_BYTES, b"x"
    window = [(1, small), (2, large), (3, small), (4, small)]
    assert [[number for number, _ in each] for each in portions(window)] == [[1], [2], [3, 4]]


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
