"""Who signed what: every way in which a signature must not count, beside the one in which it does."""

from __future__ import annotations

import base64
import json

import pytest

from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import MAX_BYTES, SKEW_SECONDS, check, peek, sign

ISSUED, EXPIRES = 1_800_000_000, 1_802_000_000
NOW = ISSUED + 1000
ACCOUNT = KeyPair.generate("account").public
ROLES = {role: KeyPair.generate("account") for role in ("viewer", "operator", "admin", "group-operator")}
PINS = Pins(signers={key.public: role for role, key in ROLES.items()})
BERLIN = Scope.group("berlin")


def login(role: str, *tags: str, key: KeyPair | None = None, issuer: KeyPair | None = None) -> Credentials:
    key = key or KeyPair.generate("user")
    token = jwt.scoped_user(
        issuer or ROLES[role], subject=key.public, name=role, account=ACCOUNT, issued_at=ISSUED, expires_at=EXPIRES, tags=tags
    )
    return Credentials(token, key.seed)


def signed(who: Credentials, *, kind: str = "config", scope: Scope = FLEET_ALL, number: int = 7, at: int = NOW) -> bytes:
    return sign(who, kind=kind, scope=scope, number=number, at=at, body=b'{"a":1}')


def refusal(data: bytes, *, kind: str = "config", scope: Scope = FLEET_ALL, pins: Pins = PINS) -> str:
    with pytest.raises(Refused) as caught:
        check(data, kind=kind, scope=scope, pins=pins)
    return caught.value.why


@pytest.mark.parametrize("role", ["operator", "admin"])
@pytest.mark.parametrize("kind", ["config", "command"])
def test_a_good_signature_says_who_and_what(role: str, kind: str) -> None:
    who = login(role)
    found = check(signed(who, kind=kind), kind=kind, scope=FLEET_ALL, pins=PINS)
    assert (found.body, found.number, found.at, found.signer, found.role, found.key) == (
        b'{"a":1}',
        7,
        NOW,
        role,
        role,
        who.public_key,
    )
    assert found.may("reboot")


def test_any_other_bytes_are_not_signed() -> None:
    data = json.loads(signed(login("operator")))
    for field, value in (("body", '{"a":2}'), ("number", 8), ("at", NOW + 1), ("signature", "AAAA"), ("signature", "!")):
        assert refusal(json.dumps({**data, field: value}).encode()) == "its signature is not operator's"


def test_what_nobody_signed_is_not_repeated_at_length() -> None:
    data = {**json.loads(signed(login("operator"))), "kind": "k" * 100_000, "scope": "s" * 100_000}
    assert len(refusal(json.dumps(data).encode())) < 300


def test_a_document_stays_in_its_scope_and_kind() -> None:
    data = signed(login("operator"), scope=BERLIN)
    assert "signed as config for group.berlin" in refusal(data)
    assert "signed as config for group.berlin" in refusal(data, kind="command", scope=BERLIN)
    moved = json.dumps({**json.loads(data), "scope": "fleet.all"}).encode()
    assert "signature is not" in refusal(moved)


def test_a_line_break_cannot_move_the_borders_between_the_fields() -> None:
    """Two envelopes whose fields, put together, would read the same."""
    who = login("operator")
    one = json.loads(signed(who))
    sly = {**one, "scope": f"fleet.all\n{one['number']}", "number": one["at"], "at": 0}
    with pytest.raises(EdgeError):
        check(json.dumps(sly).encode(), kind="config", scope=FLEET_ALL, pins=PINS)


def test_only_pinned_role_keys_count() -> None:
    foreign = KeyPair.generate("account")
    assert "not known here" in refusal(signed(login("operator", issuer=foreign)))
    assert "knows nobody who may sign" in refusal(signed(login("operator")), pins=Pins())


def test_a_login_that_names_a_pinned_issuer_but_is_not_signed_by_it() -> None:
    who = login("operator", issuer=KeyPair.generate("account"))
    head, body, signature = who.jwt.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["iss"] = ROLES["operator"].public
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert "signature is wrong" in refusal(signed(Credentials(f"{head}.{forged}.{signature}", who.seed)))


def test_the_signer_must_have_the_seed_of_the_login() -> None:
    stolen = login("operator")
    assert "signature is not" in refusal(signed(Credentials(stolen.jwt, KeyPair.generate("user").seed)))


@pytest.mark.parametrize(
    ("role", "kind"), [("viewer", "config"), ("viewer", "command"), ("operator", "signers"), ("viewer", "signers")]
)
def test_a_role_signs_only_what_it_may(role: str, kind: str) -> None:
    assert f"has the role {role}, which may not sign it" in refusal(signed(login(role), kind=kind), kind=kind)


def test_a_limited_operator_signs_for_its_groups_only() -> None:
    who = login("group-operator", "group:berlin", "action:service.*", "action:ping")
    found = check(signed(who, scope=BERLIN), kind="config", scope=BERLIN, pins=PINS)
    assert found.groups == ("berlin",)
    assert found.may("service.restart")
    assert found.may("ping")
    assert not found.may("exec")
    for scope in (FLEET_ALL, Scope.group("munich"), Scope.device("berlin")):
        assert "limited to the groups berlin" in refusal(signed(who, scope=scope), scope=scope)
    assert "limited to the groups (none)" in refusal(signed(login("group-operator"), scope=BERLIN), scope=BERLIN)


def test_a_login_signs_only_while_it_is_good() -> None:
    who = login("operator")
    check(signed(who, at=ISSUED - SKEW_SECONDS), kind="config", scope=FLEET_ALL, pins=PINS)
    check(signed(who, at=EXPIRES), kind="config", scope=FLEET_ALL, pins=PINS)
    assert "before operator's login was issued" in refusal(signed(who, at=ISSUED - SKEW_SECONDS - 1))
    assert "had expired when it was signed" in refusal(signed(who, at=EXPIRES + 1))


def test_a_revoked_login_signs_nothing_but_the_next_one_does() -> None:
    key = KeyPair.generate("user")
    who = login("operator", key=key)
    pins = Pins(signers=PINS.signers, revoked={key.public: ISSUED})
    assert "was revoked" in refusal(signed(who), pins=pins)
    check(signed(who), kind="config", scope=FLEET_ALL, pins=Pins(signers=PINS.signers, revoked={key.public: ISSUED - 1}))


def test_the_floor_ends_everything_older() -> None:
    pins = Pins(signers=PINS.signers, floor=NOW)
    check(signed(login("operator")), kind="config", scope=FLEET_ALL, pins=pins)
    assert "before what this device still accepts" in refusal(signed(login("operator"), at=NOW - 1), pins=pins)


def test_a_number_that_nothing_could_ever_exceed_is_refused() -> None:
    latest = (NOW + SKEW_SECONDS) * 1000
    check(signed(login("operator"), number=latest), kind="config", scope=FLEET_ALL, pins=PINS)
    assert "ahead of the time" in refusal(signed(login("operator"), number=latest + 1))
    check(signed(login("operator"), kind="command", number=10**18), kind="command", scope=FLEET_ALL, pins=PINS)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'{"kind":"config"}', b"x" * (MAX_BYTES + 1)])
def test_rubbish_is_no_envelope(data: bytes) -> None:
    with pytest.raises(Failed):
        check(data, kind="config", scope=FLEET_ALL, pins=PINS)


def test_an_unknown_kind_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="no such kind"):
        signed(login("operator"), kind="nonsense")


def test_peeking_checks_nothing() -> None:
    assert peek(signed(login("viewer"))).number == 7
