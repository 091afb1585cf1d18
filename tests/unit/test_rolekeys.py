"""Whether devices follow what a person's machine is shown, by the role keys that came with the login."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from edgeagent import subjects, wire
from edgeagent.administration import AuditEntry
from edgeagent.command import CANCEL, Entry, new_id
from edgeagent.config import Document
from edgeagent.direct import Stored
from edgeagent.errors import Refused
from edgeagent.fleet import audit
from edgeagent.fleet.commandentry import LogEntry, log_entry, made
from edgeagent.fleet.commandlogs import signed_entry
from edgeagent.fleet.configversion import Version, marked_revoked, ready, version_of
from edgeagent.fleet.rolekeys import judged
from edgeagent.hub.owner import Owner
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.times import rfc3339
from edgeagent.trust import signers
from edgeagent.trust.creds import Credentials
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import sign

OWNER, STRANGER = Owner.create("berlin"), Owner.create("berlin")
BERLIN = Scope.group("berlin")
START = datetime.now(timezone.utc)
NOW = int(time.time())


def login(name: str = "olga", role: Any = "operator", *groups: str, owner: Owner = OWNER, **more: Any) -> Credentials:
    return owner.operator_credentials(name, role, groups=groups, **more)


OLGA, THIEF, ANNA = login(), login("paul"), login("anna", "admin")
EVE = login("eve", "operator", "berlin", actions=("ping",))
MALLORY = login("olga", owner=STRANGER)
PINS = Pins(signers=OWNER.signers(), revoked={THIEF.public_key: NOW + 60})

#: Who signs -> what is in the way.
SIGNERS: dict[str, tuple[Credentials, str]] = {
    "operator": (OLGA, ""),
    "admin": (ANNA, ""),
    "limited-elsewhere": (EVE, "eve is limited to the groups berlin"),
    "revoked": (THIEF, "paul's login was revoked"),
    "stranger": (MALLORY, "its signer is not known here"),
    "viewer": (login("vera", "viewer"), "its signer is not known here"),
}


def document(who: Credentials, values: dict[str, Any] | None = None, scope: Scope = FLEET_ALL) -> bytes:
    body = wire.encode(Document(values=values or {"app": {"x": {"y": 1}}}, note="why"))
    return sign(who, kind="config", scope=scope, number=NOW * 1000, at=NOW, body=body)


def version(data: bytes, pins: Pins | None = PINS) -> Version:
    return version_of(FLEET_ALL, Stored("$KV.edge_config.fleet.all", 7, START, data, False), pins)


@pytest.mark.parametrize("name", SIGNERS)
def test_a_document_is_of_whom_devices_would_believe(name: str) -> None:
    who, problem = SIGNERS[name]
    found = version(document(who))
    if not problem:
        assert (found.by, found.problem, found.revoked) == (who.name, "", False) and ready(found) == {"app": {"x": {"y": 1}}}
        return
    assert problem in found.problem and found.problem.startswith("its signature does not count: ")
    assert (found.by, found.note, found.values, found.revoked) == ("", "", {}, name == "revoked")
    assert found.claimed == {"app": {"x": {"y": 1}}}, "for a person to look at"
    assert "claimed" not in found.as_dict() and found.as_dict()["by"] is None
    with pytest.raises(Refused, match="cannot build on the configuration"):
        ready(found)
    assert marked_revoked([found], {})[0].revoked is found.revoked


@pytest.mark.parametrize("name", SIGNERS)
def test_without_role_keys_every_whole_document_looks_good(name: str) -> None:
    who, _ = SIGNERS[name]
    assert (version(document(who), None).by, version(document(who), None).problem) == (who.name, "")


def test_what_is_not_even_signed_by_whom_it_says_is_nothing() -> None:
    good = document(OLGA)
    for pins in (PINS, None):
        for data in (good.replace(b"why", b"lie"), good.replace(b'"at":', b'"at":1'), b"rubbish"):
            verdict = judged(data, kind="config", scope=FLEET_ALL, pins=pins)
            assert verdict.problem and not verdict.whole and not verdict.by
    assert not judged(good, kind="config", scope=BERLIN, pins=PINS).by
    assert version(good.replace(b"why", b"lie")).claimed == {}


def test_under_an_exchanged_role_key_nothing_counts_as_on_a_device_that_never_saw_it() -> None:
    document_before = signers.changed(ANNA, None, now=NOW)
    exchanged = {key: role for key, role in STRANGER.signers().items() if role != "admin"}
    exchanged |= {key: role for key, role in OWNER.signers().items() if role == "admin"}
    pins = signers.followed(PINS, signers.changed(ANNA, document_before, now=NOW + 1, signers=exchanged))
    assert version(document(OLGA), pins).problem and version(document(MALLORY), pins).by == "olga"


# ---- commands --------------------------------------------------------------------------------------------------------------


def entry(action: str = "ping", who: Credentials = OLGA, **more: Any) -> Entry:
    """who: is going to sign it."""
    values = {"id": new_id(NOW, who.public_key), "log": "l", "floor": 1, "not_after": NOW + 60, **more}
    return Entry(action=action, **values)


def stored(found: Entry, who: Credentials, *, scope: Scope = BERLIN, number: int = 1, after: float = 0.0) -> Stored:
    data = signed_entry(who, scope, found, number=number, at=NOW)
    return Stored(subjects.command_log(scope, number), number, START + timedelta(seconds=after), data, False)


def read(*items: Stored) -> Iterator[LogEntry]:
    for item in items:
        found = log_entry(item, PINS)
        assert found is not None
        yield found


@pytest.mark.parametrize(
    ("who", "by", "problem"),
    [(OLGA, "olga", ""), (MALLORY, "", "not known here"), (THIEF, "", "was revoked"), (EVE, "eve", "eve may not give")],
    ids=["operator", "stranger", "revoked", "not-that-action"],
)
def test_a_command_is_of_whom_devices_would_believe(who: Credentials, by: str, problem: str) -> None:
    (found,) = made(read(stored(entry("reboot", who), who)))
    assert found.by == by and (problem in found.problem if problem else not found.problem)
    assert found.revoked is (who is THIEF) and found.action == "reboot"


def test_nobodys_entry_takes_the_place_of_a_command_that_devices_follow() -> None:
    first = entry("service.status", args={"unit": "nginx"})
    copied = stored(first, ANNA, after=-9), stored(first, OLGA, number=2)
    assert [(found.by, found.problem) for found in made(read(*copied))] == [("olga", "")], "an id is its signer's"
    evil = msgspec.structs.replace(first, action="exec", args={"argv": ["/bin/evil"]})
    for who in (MALLORY, THIEF, EVE):
        items = stored(evil, who, after=-9), stored(first, OLGA, number=2)
        (found,) = made(read(*items))
        assert (found.action, found.by, found.problem) == ("service.status", "olga", "")


@pytest.mark.parametrize(
    ("who", "scope", "counts"),
    [(OLGA, BERLIN, True), (MALLORY, BERLIN, False), (THIEF, BERLIN, False), (EVE, BERLIN, False), (ANNA, FLEET_ALL, False)],
    ids=["operator", "stranger", "revoked", "not-that-action", "another-log"],
)
def test_a_cancel_counts_where_devices_obey_it(who: Credentials, scope: Scope, counts: bool) -> None:
    first = entry("reboot")
    cancel = stored(entry(CANCEL, who, args={"id": first.id}), who, scope=scope, number=2, after=1)
    (found,) = made(read(stored(first, OLGA), cancel))
    assert found.cancelled_by == (who.name if counts else "")


def test_who_may_give_it_may_cancel_it() -> None:
    first = entry("ping")
    cancel = stored(entry(CANCEL, EVE, args={"id": first.id}), EVE, number=2, after=1)
    (found,) = made(read(stored(first, OLGA), cancel))
    assert found.cancelled_by == "eve"


# ---- the audit -------------------------------------------------------------------------------------------------------------


def test_the_audit_names_nobody_who_did_not_sign() -> None:
    command, cancelled = entry("reboot"), entry("ping")
    messages = [
        ("$KV.edge_config.fleet.all", document(OLGA)),
        ("$KV.edge_config.fleet.all", document(MALLORY)),
        ("$KV.edge_trust.signers", signers.changed(ANNA, None, now=NOW)),
        ("$KV.edge_trust.signers", signers.changed(login("anna", "admin", owner=STRANGER), None, now=NOW)),
        *((item.subject, item.data) for item in (stored(command, MALLORY), stored(cancelled, OLGA, number=2))),
        *((item.subject, item.data) for item in [stored(entry(CANCEL, args={"id": cancelled.id}), MALLORY, number=3)]),
    ]
    times = (rfc3339(START + timedelta(seconds=number)) for number in range(len(messages)))
    entries = [AuditEntry(number, subject, next(times), data) for number, (subject, data) in enumerate(messages, 1)]
    found = audit.records(entries, PINS)
    said = [(record.what, record.by, record.action, bool(record.problem), record.cancelled_by) for record in found]
    assert said == [
        ("config", "olga", "", False, ""),
        ("config", "", "", True, ""),
        ("trust", "anna", "", False, ""),
        ("trust", "", "", True, ""),
        ("command", "", "reboot", True, ""),
        ("command", "olga", "ping", False, ""),
        ("unreadable", "", "", True, ""),
    ]
