"""Of one login only so many may take the places of newcomers, and none for long."""

from __future__ import annotations

import json

from edgeagent.hub.presence import read_leafz, read_visitor
from edgeagent.hub.visitors import MAX_CLAIMS, MAX_RENEWALS, STAY_SECONDS, Visitor, Visitors
from edgeagent.trust import jwt
from edgeagent.trust.nkeys import KeyPair


def renewing(number: int, user: str = "U1") -> Visitor:
    return Visitor(f"S:{number}", user, "pi-1", claims=False)


def test_of_one_device_that_renews_the_oldest_links_are_ended() -> None:
    here = Visitors()
    assert [here.came(renewing(number), 0) for number in range(MAX_RENEWALS)] == [[]] * MAX_RENEWALS
    assert here.came(renewing(90, "U2"), 0) == []
    assert here.came(renewing(91), 0) == ["S:0"] and here.came(renewing(92), 0) == ["S:1"]
    here.gone("S:2")
    assert here.came(renewing(93), 0) == []
    assert sorted(here.of("pi-1")) == ["S:3", "S:90", "S:91", "S:92", "S:93"]


def test_many_boards_may_come_with_one_token() -> None:
    here = Visitors()
    ended = [here.came(Visitor(f"S:{number}", "U1", "t", claims=True), 0) for number in range(MAX_CLAIMS + 1)]
    assert ended == [[]] * MAX_CLAIMS + [["S:0"]]


def test_nobody_stays() -> None:
    here = Visitors()
    here.came(renewing(1), 0)
    assert here.looked({"S:1", "S:2"}, 1) == []  # the second one came while nobody listened
    assert here.looked({"S:1", "S:2", "S:3"}, STAY_SECONDS) == ["S:1"]
    assert here.looked({"S:2", "S:3"}, STAY_SECONDS + 1) == ["S:2"]
    assert here.looked({"S:2"}, STAY_SECONDS + 2) == [] and here.of("") == ["S:2"]  # it was not ended: it is found again


def test_who_it_is_comes_from_the_jwt() -> None:
    account, user = KeyPair.generate("account"), KeyPair.generate("user").public

    def token(expires_at: int | None = None) -> str:
        return jwt.scoped_user(account, subject=user, name="pi-1", account=account.public, issued_at=1, expires_at=expires_at)

    def event(token: str, kind: str = "Leafnode") -> bytes:
        return json.dumps({"server": {"id": "S"}, "client": {"id": 7, "kind": kind, "jwt": token, "name": "x"}}).encode()

    assert read_visitor(event(token())) == Visitor("S:7", user, "pi-1", claims=False)
    assert read_visitor(event(token(9))) == Visitor("S:7", user, "pi-1", claims=True)
    assert read_visitor(event(token(), "Client")) is None and read_visitor(event("rubbish")) is None


def test_what_a_leaf_calls_itself_is_one_plain_line() -> None:
    leaf = {"id": 1, "name": "a\nERROR all is lost\x1b[2J" + "\u202e" * 500, "ip": "192.0.2.1\r"}
    (found,) = read_leafz(json.dumps({"server": {"id": "S"}, "data": {"leafs": [leaf]}}).encode())[1]
    assert found.name.startswith("a?ERROR all is lost?[2J???") and len(found.name) == 128 and found.name.isascii()
    assert found.address == "192.0.2.1?"
