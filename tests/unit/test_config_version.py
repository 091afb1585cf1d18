"""What the hub keeps of a scope may be anything: what is shown of it, what is never built upon, and what is signed next."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from edgeagent import wire
from edgeagent.config import Document
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.fleet.configsign import (
    MAX_BYTES,
    believed_until,
    check_reaches,
    check_signed,
    next_number,
    signed_document,
)
from edgeagent.fleet.configversion import Version, moment, outline_of, ready, scope_of, version_of, when
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import check, peek, self_consistent, sign

TIME = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
NOW = TIME.timestamp()
ROLE = KeyPair.generate("account")
BERLIN = Scope.group("berlin")


def login(*tags: str, issued: float = NOW - 1000, expires: float | None = NOW + 86_400, issuer: KeyPair = ROLE) -> Credentials:
    key = KeyPair.generate("user")
    token = jwt.scoped_user(
        issuer,
        subject=key.public,
        name="olga",
        account=ROLE.public,
        issued_at=int(issued),
        expires_at=None if expires is None else int(expires),
        tags=tags,
    )
    return Credentials(token, key.seed)


OLGA = login()


def stored(data: bytes, sequence: int = 7, *, deleted: bool = False, scope: Scope = FLEET_ALL) -> Stored:
    return Stored(f"$KV.edge_config.{scope}", sequence, TIME, data, deleted)


def envelope(
    values: dict[str, Any], *, scope: Scope = FLEET_ALL, kind: str = "config", number: int = int(NOW * 1000), note: str = ""
) -> bytes:
    body = wire.encode(Document(values=values, note=note))
    return sign(OLGA, kind=kind, scope=scope, number=number, at=int(NOW), body=body)


def changed(data: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(data), **fields}).encode()


GOOD = envelope({"agent": {"micro": True}}, note="why")


def test_a_document_is_shown_as_it_says_itself() -> None:
    version = version_of(FLEET_ALL, stored(GOOD))
    assert (version.revision, version.generation, version.time, version.by) == (7, int(NOW * 1000), TIME, "olga")
    assert (version.note, version.values, version.problem, version.is_there) == ("why", {"agent": {"micro": True}}, "", True)
    assert ready(version) == {"agent": {"micro": True}}


def test_none_and_a_mark_of_deletion_are_nothing_to_show_and_may_be_built_upon() -> None:
    for version, revision in ((version_of(FLEET_ALL, None), 0), (version_of(FLEET_ALL, stored(b"", deleted=True)), 7)):
        assert (version.revision, version.is_there, version.generation, ready(version)) == (revision, False, 0, {})


NULL = sign(OLGA, kind="config", scope=FLEET_ALL, number=1, at=int(NOW), body=b'{"values":{"app":{"x":{"y":[null]}}}}')
DEEP = "x." + base64.urlsafe_b64encode(b"[" * 40_000).decode().rstrip("=") + ".x"
RUBBISH = {
    "no-json": b"\x00rubbish",
    "other-json": b'{"a": 1}',
    "other-scope": envelope({}, scope=BERLIN),
    "other-kind": envelope({}, kind="command"),
    "no-configuration": sign(OLGA, kind="config", scope=FLEET_ALL, number=1, at=int(NOW), body=b"[1]"),
    "too-deep": sign(
        OLGA, kind="config", scope=FLEET_ALL, number=1, at=1, body=b'{"values":' + b'{"a":' * 99 + b"1" + b"}" * 100
    ),
    "null": NULL,
}
FORGED = {
    "other-body": changed(GOOD, body='{"values":{"agent":{"micro":false}}}'),
    "other-number": changed(GOOD, number=int(NOW * 1000) + 1),
    "no-signature": changed(GOOD, signature=""),
    "signature-of-rubbish": changed(GOOD, signature="ä!"),
    "no-jwt": changed(GOOD, signer="x"),
    "deep-jwt": changed(GOOD, signer=DEEP),
    "jwt-of-another": changed(GOOD, signer=login().jwt),
    "jwt-changed": changed(GOOD, signer=OLGA.jwt[:-4] + "AAAA"),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_shown_as_such_and_never_built_upon(name: str) -> None:
    version = version_of(FLEET_ALL, stored(RUBBISH[name]))
    assert version.problem and version.is_there and version.values == {}
    with pytest.raises(Refused, match=r"revision 7.*`--force` begins with an empty one"):
        ready(version)


@pytest.mark.parametrize("name", FORGED)
def test_what_nobody_signed_like_this_is_never_signed_by_us(name: str) -> None:
    version = version_of(FLEET_ALL, stored(FORGED[name]))
    assert version.problem and version.is_there, "it is shown as what it is"
    assert (version.values, version.by, version.note) == ({}, "", ""), (
        "and nobody's name or words are shown as if they were theirs"
    )
    with pytest.raises(Refused, match=r"cannot build on the configuration of fleet\.all"):
        ready(version)
    with pytest.raises(Refused):
        self_consistent(peek(FORGED[name]))


def test_a_signature_that_is_whole_names_its_signer() -> None:
    assert self_consistent(peek(GOOD)) == "olga"


@pytest.mark.parametrize(
    ("subject", "scope"),
    [
        ("$KV.edge_config.fleet.all", FLEET_ALL),
        ("$KV.edge_config.group.berlin", BERLIN),
        ("$KV.edge_config.trust.signers", None),
        ("$KV.edge_config.fleet", None),
        ("$KV.edge_config.a.b.c", None),
    ],
)
def test_only_keys_of_scopes_are_read(subject: str, scope: Scope | None) -> None:
    assert scope_of(subject) == scope


def test_a_generation_is_a_time_unless_it_is_none() -> None:
    assert moment(int(NOW * 1000)) == TIME
    assert moment(0) is None and moment(-5) is None and moment(1 << 62) is None


# ---- signing the next one --------------------------------------------------------------------------------------------------


def next_of(last: int) -> int:
    return next_number(last, now=NOW)


def test_the_generation_is_the_time_or_one_more_than_the_last() -> None:
    now = int(NOW * 1000)
    assert next_of(0) == now and next_of(now - 5) == now
    assert next_of(now) == now + 1 and next_of(now + 60_000) == now + 60_001


def test_clocks_may_differ_but_not_by_more() -> None:
    assert believed_until(NOW) == int((NOW + 300) * 1000)


def reaches(who: Credentials, number: int) -> None:
    check_reaches(who, number, who="by paul", what="change it", now=NOW)


@pytest.mark.parametrize(("who", "days"), [(OLGA, 1), (login(expires=None), 366)], ids=["ends", "never-ends"])
def test_who_could_not_exceed_a_generation_is_told_whose_it_is_and_what_to_do(who: Credentials, days: int) -> None:
    end = int((TIME + timedelta(days=days)).timestamp() * 1000)
    reaches(who, end)
    with pytest.raises(
        Refused, match=r"the document that devices follow \(by paul\) is dated 20.*this login ends before"
    ) as caught:
        reaches(who, end + 1000)
    assert "operator add NAME --expires" in caught.value.remedy and "operator revoke" in caught.value.remedy


def test_what_it_takes_too_long_to_look_into_is_only_outlined() -> None:
    found = outline_of(FLEET_ALL, stored(GOOD))
    assert (found.revision, found.time, found.generation) == (7, TIME, int(NOW * 1000)) and found.problem and not found.values
    assert outline_of(FLEET_ALL, stored(b"rubbish")).generation == 0 and outline_of(FLEET_ALL, stored(b"", deleted=True)).deleted


def test_a_generation_reads_as_a_time_of_day() -> None:
    assert when(int(NOW * 1000)) == TIME.astimezone().strftime("%Y-%m-%d %H:%M:%S") and when(1 << 62) == f"generation {1 << 62}"


def test_what_is_signed_a_device_follows() -> None:
    for last in (0, int(NOW * 1000) + 3_600_000):  # the last signer's clock was an hour ahead
        number = next_of(last)
        data = signed_document(OLGA, FLEET_ALL, b'{"values":{}}', number=number, now=NOW)
        check_signed(OLGA, FLEET_ALL, data)
        found = check(data, kind="config", scope=FLEET_ALL, pins=Pins(signers={ROLE.public: "operator"}))
        assert (found.number, found.signer) == (number, "olga")


@pytest.mark.parametrize(
    ("who", "scope", "why"),
    [
        (login(issued=NOW + 3600, expires=NOW + 7200), FLEET_ALL, "before olga's login was issued"),
        (login(issued=NOW - 7200, expires=NOW - 3600), FLEET_ALL, "had expired"),
        (login("group:berlin"), FLEET_ALL, "limited to the groups berlin"),
        (login("group:berlin"), Scope.group("munich"), "limited to the groups berlin"),
    ],
    ids=["clock-behind", "expired", "limited", "other-group"],
)
def test_what_no_device_would_follow_is_said_before_it_is_stored(who: Credentials, scope: Scope, why: str) -> None:
    data = signed_document(who, scope, b'{"values":{}}', number=int(NOW * 1000), now=NOW)
    with pytest.raises(Refused, match=f"devices would not follow it.*{why}"):
        check_signed(who, scope, data)


def test_what_does_not_fit_into_the_bucket_is_said() -> None:
    body = msgspec.json.encode(Document(values={"app": {"big": {"x": "y" * MAX_BYTES}}}))
    with pytest.raises(UsageProblem, match="61,440 fit") as caught:
        signed_document(OLGA, FLEET_ALL, body, number=1, now=NOW)
    assert "yyy" not in str(caught.value)


def test_nothing_secret_is_in_what_is_kept_in_memory() -> None:
    version = version_of(FLEET_ALL, stored(GOOD))
    assert isinstance(version, Version) and OLGA.seed not in repr(version)


def test_an_error_is_one_of_ours_whatever_was_stored() -> None:
    for data in [*RUBBISH.values(), *FORGED.values(), b"", b"[" * 50_000]:
        try:
            ready(version_of(FLEET_ALL, stored(data)))
        except EdgeError:
            continue
        raise AssertionError("it was built upon")
