"""The document that says who may sign: rotation, revocation, and what an attacker would do with it."""

from __future__ import annotations

import itertools
import json

import pytest

from edgeagent.errors import Failed, Refused
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins, load
from edgeagent.trust.signers import MAX_CHAIN, body_of, changed, followed, number_of

ISSUED = 1_800_000_000
ACCOUNT = KeyPair.generate("account").public
OPERATOR, ADMIN = KeyPair.generate("account"), KeyPair.generate("account")
PINS = Pins(signers={OPERATOR.public: "operator", ADMIN.public: "admin"})
THIEF = KeyPair.generate("user").public


def login(role_key: KeyPair, name: str = "olga") -> Credentials:
    key = KeyPair.generate("user")
    token = jwt.scoped_user(role_key, subject=key.public, name=name, account=ACCOUNT, issued_at=ISSUED)
    return Credentials(token, key.seed)


def rotated(key: KeyPair) -> dict[str, str]:
    return {OPERATOR.public: "operator", key.public: "admin"}


def test_a_revocation_is_followed_and_kept_by_the_next_document() -> None:
    first = changed(login(ADMIN), None, now=ISSUED, revoke={THIEF: ISSUED})
    pins = followed(PINS, first)
    assert pins == Pins(signers=PINS.signers, revoked={THIEF: ISSUED}, generation=ISSUED * 1000)
    other = KeyPair.generate("user").public
    second = changed(login(ADMIN), first, now=ISSUED + 1, revoke={other: ISSUED + 1})
    assert followed(pins, second).revoked == {THIEF: ISSUED, other: ISSUED + 1}
    third = changed(login(ADMIN), second, now=ISSUED + 2, unrevoke={THIEF})
    assert followed(pins, third).revoked == {other: ISSUED + 1}


def test_a_device_follows_the_same_document_once() -> None:
    first = changed(login(ADMIN), None, now=ISSUED)
    pins = followed(PINS, first)
    assert followed(pins, first) is pins


def test_an_older_document_is_refused() -> None:
    first = changed(login(ADMIN), None, now=ISSUED, revoke={THIEF: ISSUED})
    second = changed(login(ADMIN), first, now=ISSUED + 1, revoke={})
    with pytest.raises(Refused, match="older than the one"):
        followed(followed(PINS, second), first)


def test_the_number_grows_though_a_clock_went_back() -> None:
    first = changed(login(ADMIN), None, now=ISSUED)
    second = changed(login(ADMIN), first, now=ISSUED - 60)
    assert number_of(second) == number_of(first) + 1
    assert followed(followed(PINS, first), second).generation == number_of(second)


def test_only_an_admin_changes_it() -> None:
    for key in (OPERATOR, KeyPair.generate("account")):
        with pytest.raises(Refused):
            followed(PINS, changed(login(key), None, now=ISSUED, revoke={THIEF: ISSUED}))


def test_nobody_can_be_left_without_an_admin() -> None:
    with pytest.raises(Refused, match="nobody who could ever change it"):
        followed(PINS, changed(login(ADMIN), None, now=ISSUED, signers={OPERATOR.public: "operator"}))


def test_a_device_that_was_away_for_many_rotations_follows_the_chain() -> None:
    keys = [ADMIN, *(KeyPair.generate("account") for _ in range(5))]
    document, at = None, ISSUED
    for before, after in itertools.pairwise(keys):
        at += 10
        document = changed(login(before), document, now=at, signers=rotated(after))
        document = changed(login(before), document, now=at + 1, revoke={THIEF: at})  # a later one by the same key
        if after is keys[1]:
            half_way = followed(PINS, document)
    document = changed(login(keys[-1]), document, now=at + 5)
    for pins in (PINS, half_way):
        now = followed(pins, document)
        assert now.signers == rotated(keys[-1])
        assert now.revoked == {THIEF: at}
    with pytest.raises(Refused):  # the old key's time is over
        followed(now, changed(login(ADMIN), document, now=at + 9, signers=rotated(ADMIN)))


def test_a_chain_cannot_bring_in_a_stranger() -> None:
    stranger = KeyPair.generate("account")
    own = json.loads(changed(login(stranger), None, now=ISSUED, signers=rotated(stranger)))
    good = json.loads(changed(login(ADMIN), None, now=ISSUED + 1))
    for chain, document in (([own["document"]], own["document"]), ([good["document"]], own["document"])):
        with pytest.raises(Refused):
            followed(PINS, json.dumps({"document": document, "chain": chain}).encode())
    assert (
        followed(PINS, json.dumps({"document": good["document"], "chain": [own["document"], "rubbish"]}).encode()).signers
        == PINS.signers
    )


def test_the_chain_is_bounded() -> None:
    document, before = None, ADMIN
    for number in range(MAX_CHAIN + 4):
        after = KeyPair.generate("account")
        document = changed(login(before), document, now=ISSUED + number, signers=rotated(after))
        before = after
    assert document is not None
    assert len(json.loads(document)["chain"]) == MAX_CHAIN
    assert len(document) < 64 << 10  # what the bucket takes


def test_a_thousand_revoked_logins_and_many_rotations_fit() -> None:
    revoked = {KeyPair.generate("user").public: ISSUED for _ in range(1000)}
    document, before = changed(login(ADMIN), None, now=ISSUED, revoke=revoked), ADMIN
    for number in range(MAX_CHAIN):
        after = KeyPair.generate("account")
        link = changed(login(before), document, now=ISSUED + number, signers=rotated(after), only_a_link=True)
        document, before = changed(login(after), link, now=ISSUED + number, signers=rotated(after), revoke=revoked), after
    assert followed(PINS, document).revoked == revoked
    assert len(document) < 256 << 10  # what the bucket takes


@pytest.mark.parametrize("data", [b"", b"{}", b'{"document":"{}"}', b'{"document":5}'])
def test_rubbish_is_no_document(data: bytes) -> None:
    with pytest.raises(Failed):
        followed(PINS, data)
    with pytest.raises(Failed):
        body_of(data)


def test_pins_are_read_from_a_file(tmp_path) -> None:
    path = tmp_path / "trust.json"
    assert load(path) == Pins()
    path.write_text(json.dumps({"v": 1, "signers": {ADMIN.public: "admin"}}))
    assert load(path).signers == {ADMIN.public: "admin"}
    path.write_text("{")
    with pytest.raises(Failed, match="enroll --force"):
        load(path)
