"""What a device makes of each document that the hub may show it: whom it obeys, what it refuses and why."""

from __future__ import annotations

import base64
import json
import random

import msgspec
import pytest

from edgeagent import wire
from edgeagent.lastgood import Kept
from edgeagent.patterns.config import MAX_ERROR, MAX_IGNORED, MAX_NAME, MAX_NUMBER, Judgement, judge
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import sign
from tests.support.configsigned import (
    BERLIN,
    ETERNAL,
    EXPIRES,
    GOOD,
    ISSUED,
    MUNICH,
    NOW,
    OLGA,
    PI_1,
    PINS,
    accepted,
    login,
    made,
)
from tests.support.configuring import document


def body(text: bytes, who: Credentials = OLGA) -> bytes:
    return sign(who, kind="config", scope=FLEET_ALL, number=NOW * 1000, at=NOW, body=text)


def refusal(data: bytes, before: Kept | None = None, scope: Scope = FLEET_ALL, pins: Pins = PINS) -> str:
    found = judge(scope, data, before, pins)
    assert found.kept is None and not found.went_back and 0 < len(found.state.error) <= MAX_ERROR, found
    assert found.state.applied == (before.generation if before else 0)
    assert 0 <= found.state.desired <= MAX_NUMBER and wire.encode(found.state)
    return found.state.error


def test_whose_signer_was_revoked_is_no_floor_any_more() -> None:
    """Else a stolen login could sign for the far future, and nothing could ever replace that."""
    thief = login("operator", name="thief", expires=None)
    ahead = accepted(made(number=(ISSUED + 10 * 365 * 86_400) * 1000, who=thief))
    assert judge(FLEET_ALL, made(), ahead, PINS).went_back
    revoked = msgspec.structs.replace(PINS, revoked={thief.public_key: NOW})
    found = judge(FLEET_ALL, made(), ahead, revoked)
    assert found.kept and found.kept.generation == NOW * 1000


@pytest.mark.parametrize("claim", ["iss", "sub", "name"])
def test_text_that_no_message_can_carry_on_is_refused_and_told_without_it(claim: str) -> None:
    claims = {"iss": OLGA.public_key, "sub": OLGA.public_key, "name": "olga", "nats": {"type": "user"}, claim: "\ud800"}
    token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, {}))
    envelope = {**json.loads(made()), "signer": token}
    assert wire.encode(wire.ScopeState(error=refusal(json.dumps(envelope).encode())))


# ---- whom it obeys -----------------------------------------------------------------------------------------------------------


def test_a_good_document_is_followed_and_all_that_is_known_of_it_kept() -> None:
    data = document(OLGA, FLEET_ALL, {"app": {"a": {"x": 1}}}, number=NOW * 1000 + 7, at=NOW, note="why")
    kept = accepted(data, GOOD)
    assert (kept.generation, kept.at, kept.signer, kept.note) == (NOW * 1000 + 7, NOW, "olga", "why")
    assert kept.values == {"app": {"a": {"x": 1}}} and len(kept.digest) == 64


def test_the_same_bytes_are_followed_already_whoever_is_trusted_now() -> None:
    data = made()
    before = accepted(data)
    good = Judgement(wire.ScopeState(desired=before.generation, applied=before.generation))
    assert judge(FLEET_ALL, data, before, PINS) == judge(FLEET_ALL, data, before, Pins()) == good


def test_no_byte_of_an_envelope_can_be_another() -> None:
    """Where it is one that counts: what is left either makes no sense, or says just the same."""
    data = made(number=NOW * 1000 + 1)
    chance = random.Random(1)
    for place in range(len(data)):
        other = bytearray(data)
        other[place] ^= 1 << chance.randrange(7)
        found = judge(FLEET_ALL, bytes(other), GOOD, PINS)
        assert found.kept is None or (found.kept.values, found.kept.generation) == (GOOD.values, NOW * 1000 + 1), place
    for length in range(len(data)):
        refusal(data[:length], GOOD)


def test_rubbish_of_every_kind_is_refused_and_never_an_error_of_ours() -> None:
    chance, data = random.Random(2), made()
    for _ in range(2000):
        other = bytearray(data)
        for _ in range(chance.choice([2, 4, 16])):
            other[chance.randrange(len(other))] = chance.randrange(256)
        assert judge(FLEET_ALL, bytes(other), GOOD, PINS).kept is None or bytes(other) == data
    envelope = json.loads(data)
    for name in envelope.keys() - {"v"}:
        for value in ("\ud800", "\0", "é" * 10_000, 1 << 70, -1, 10**4000, 1.5, None, True, [], {}, [[]] * 1000):
            refusal(json.dumps({**envelope, name: value}).encode(), GOOD)
        refusal(json.dumps({key: value for key, value in envelope.items() if key != name}).encode(), GOOD)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b"\xff\xfe", b"[" * 65_000, b'{"a":' * 13_000, b"x" * (1 << 20), b'{"kind":"config"}' * 3000],
    ids=range(8),
)
def test_no_envelope(data: bytes) -> None:
    assert "cannot read a" in refusal(data, GOOD)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "read a configuration"),
        (b"[]", "read a configuration"),
        (b'{"values": {"a": ' + b'{"b":' * 6000 + b"1" + b"}" * 6000 + b"}}", "read a configuration"),
        (b'{"values": {"a": ' + b"[" * 20 + b"]" * 20 + b"}}", "deeper than 16"),
        (b'{"values": {"app": {"a": {"x": "\\ud800"}}}}', "read a configuration"),
        (b'{"values": {"app": {"a": {"x": 1e999}}}}', "read a configuration"),
        (b'{"values": {"app": {"a": {"x": NaN}}}}', "read a configuration"),
        (b'{"values": {"app": {"a": {"x": ' + b"9" * 5000 + b"}}}}", "read a configuration"),
        (b'{"values": {"app": {"a": {"x": 9223372036854775808}}}}', "does not fit into 64 bits"),
        (b'{"values": {"agent": {"heartbeat_seconds": 0}}}', "agent.heartbeat_seconds = 0: it must be at least 1"),
        (b'{"values": {"agent": {"heartbeat_seconds": {}}}}', "agent.heartbeat_seconds = {}: it must be a number"),
        (b'{"values": {"agent": 5}}', "agent: it is a section"),
        (b'{"values": {"device": {"labels": {"A": "x"}}}}', "device.labels.A: it must be 1 to 63 of"),
        (b'{"values": {"app": {"a": {"x": null}}}}', "app.a.x: it must be text"),
    ],
    ids=range(14),
)
def test_well_signed_nonsense(text: bytes, why: str) -> None:
    assert why in refusal(body(text), None)


def test_who_is_not_pinned_may_not_or_is_not_trusted_any_more_is_not_followed() -> None:
    foreign = KeyPair.generate("account")
    assert "signer is not known here" in refusal(made(who=login("admin", issuer=foreign)))
    assert "knows nobody who may sign" in refusal(made(), pins=Pins())
    assert "has the role viewer" in refusal(made(who=login("viewer")))
    assert "olga's login was revoked" in refusal(made(), pins=Pins(signers=PINS.signers, revoked={OLGA.public_key: ISSUED}))
    stolen = Credentials(OLGA.jwt, KeyPair.generate("user").seed)
    assert "signature is not olga's" in refusal(made(who=stolen))
    limited = login("group-operator", "group:berlin", name="kim")
    accepted(made(scope=BERLIN, who=limited), scope=BERLIN)
    for scope in (FLEET_ALL, MUNICH, PI_1):
        assert "kim is limited to the groups berlin" in refusal(made(scope=scope, who=limited), scope=scope)


def test_a_document_is_for_one_scope_and_of_one_kind() -> None:
    assert "signed as config for group.berlin" in refusal(made(scope=BERLIN))
    command = sign(OLGA, kind="command", scope=FLEET_ALL, number=NOW * 1000, at=NOW, body=b'{"values": {}}')
    assert "signed as command for fleet.all" in refusal(command)


# ---- which of several ----------------------------------------------------------------------------------------------------------


def test_nothing_older_is_ever_followed() -> None:
    older = made(number=GOOD.generation - 1)
    found = judge(FLEET_ALL, older, GOOD, PINS)
    assert found.kept is None and found.went_back and "is older than the one that this device follows" in found.state.error
    assert (found.state.desired, found.state.applied) == (GOOD.generation - 1, GOOD.generation)
    accepted(made(number=GOOD.generation + 1), GOOD)


def test_one_generation_is_one_document() -> None:
    other = made({"agent": {"heartbeat_seconds": 6}}, number=GOOD.generation)
    assert "another document of the same generation" in refusal(other, GOOD)


def test_an_older_one_of_somebody_who_is_not_trusted_is_a_refusal_and_not_a_hub_that_went_back() -> None:
    assert "has the role viewer" in refusal(made(number=1, who=login("viewer")), GOOD)


def test_nothing_is_signed_so_far_ahead_that_nothing_could_replace_it() -> None:
    ahead = document(OLGA, FLEET_ALL, {}, number=(NOW + 10**6) * 1000, at=NOW)
    assert "ahead of the time" in refusal(ahead)
    later = document(OLGA, FLEET_ALL, {}, number=(EXPIRES + 10) * 1000, at=EXPIRES + 10)
    assert "had expired when it was signed" in refusal(later)
    for number in (MAX_NUMBER + 1, 10**30):
        data = document(ETERNAL, FLEET_ALL, {}, number=number, at=number // 1000 + 1)
        assert "its generation is no number that everybody can read" in refusal(data)


def test_who_was_revoked_leaves_no_generation_that_nothing_could_replace() -> None:
    far = accepted(made(number=10**15, who=ETERNAL), GOOD)
    assert judge(FLEET_ALL, made(number=GOOD.generation + 1), far, PINS).went_back
    pins = Pins(signers=PINS.signers, revoked={ETERNAL.public_key: ISSUED})
    found = judge(FLEET_ALL, made(number=GOOD.generation + 1), far, pins)
    assert found.kept and found.kept.signer == "olga"


def test_what_the_hub_has_lost_is_kept_and_said() -> None:
    assert judge(FLEET_ALL, None, None, PINS) == Judgement(wire.ScopeState())
    found = judge(FLEET_ALL, None, GOOD, PINS)
    assert found.kept is None and found.went_back and "has no configuration for fleet.all any more" in found.state.error
    assert (found.state.desired, found.state.applied) == (0, GOOD.generation)


def test_names_of_another_version_are_ignored_and_said_but_only_so_many() -> None:
    values = {"agent": {"mood": 1, "micro": False}, "tomorrow": {f"x{number}": 1 for number in range(100)}}
    found = judge(FLEET_ALL, made(values), None, PINS)
    assert found.kept and found.kept.values == values and found.state.ignored[0] == "agent.mood"
    assert len(found.state.ignored) == MAX_IGNORED and not found.state.error
    deep = judge(FLEET_ALL, made({"tomorrow": {"y" * 64: {"z" * 64: 1}}}), None, PINS)
    assert [len(name) for name in deep.state.ignored] == [MAX_NAME]


def test_what_is_wrong_is_said_in_no_more_words_than_a_report_has_room_for() -> None:
    many = {"device": {"labels": {f"WRONG-{number}": "é" * 200 for number in range(60)}}}
    said = refusal(made(many))
    assert len(said) == MAX_ERROR and said.endswith("…")
