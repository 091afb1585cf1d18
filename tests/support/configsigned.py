"""Documents of a fleet that there is not, signed at a time of their own, and what a device makes of them."""

from __future__ import annotations

from typing import Any

from edgeagent.lastgood import Kept
from edgeagent.patterns.config import judge
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from tests.support.configuring import document

__all__ = [
    "BERLIN",
    "ETERNAL",
    "EXPIRES",
    "GOOD",
    "ISSUED",
    "MUNICH",
    "NOW",
    "OLGA",
    "PINS",
    "PI_1",
    "ROLES",
    "accepted",
    "login",
    "made",
]

ISSUED, EXPIRES = 1_800_000_000, 1_802_000_000
NOW = ISSUED + 1000
ACCOUNT = KeyPair.generate("account").public
ROLES = {role: KeyPair.generate("account") for role in ("viewer", "operator", "admin", "group-operator")}
PINS = Pins(signers={key.public: role for role, key in ROLES.items()})
BERLIN, MUNICH, PI_1 = Scope.group("berlin"), Scope.group("munich"), Scope.device("pi-1")


def login(role: str, *tags: str, name: str = "", issuer: KeyPair | None = None, expires: int | None = EXPIRES) -> Credentials:
    key = KeyPair.generate("user")
    token = jwt.scoped_user(
        issuer or ROLES[role],
        subject=key.public,
        name=name or role,
        account=ACCOUNT,
        issued_at=ISSUED,
        expires_at=expires,
        tags=tags,
    )
    return Credentials(token, key.seed)


OLGA, ETERNAL = login("operator", name="olga"), login("operator", name="tim", expires=None)


def made(
    values: dict[str, Any] | None = None, *, scope: Scope = FLEET_ALL, number: int = NOW * 1000, who: Credentials = OLGA
) -> bytes:
    values = {"agent": {"heartbeat_seconds": 5}} if values is None else values
    return document(who, scope, values, number=number, at=max(NOW, number // 1000))


def accepted(data: bytes, before: Kept | None = None, scope: Scope = FLEET_ALL) -> Kept:
    found = judge(scope, data, before, PINS)
    assert found.kept and not found.state.error and not found.went_back, found
    assert found.state.desired == found.state.applied == found.kept.generation
    return found.kept


GOOD = accepted(made())
