"""What an attacker who has the hub can put into its store in the place of a device's configuration, and why no device follows it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from edgeagent import subjects
from edgeagent.hub.keyring import role_key
from edgeagent.hub.owner import Owner
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.signed import Signed, peek, sign
from tests.support.configured import DEVICE, Configured
from tests.support.configuring import document

__all__ = ["ATTACKS", "BERLIN", "GOOD_SECONDS", "MUNICH", "STREAM", "World", "evil", "good", "issued_by", "now"]

BERLIN, MUNICH = Scope.group("berlin"), Scope.group("munich")
STREAM = f"KV_{subjects.CONFIG_BUCKET}"
#: What good documents say, and what attackers would have.
GOOD_SECONDS, EVIL_SECONDS = 1.25, 3599.0
DAY = 86_400


def now() -> int:
    return int(time.time())


class World:
    """The device, whom it trusts, and what it follows in each scope."""

    def __init__(self, pi: Configured) -> None:
        self.pi, self.owner = pi, pi.fleet.owner
        self.olga = self.owner.operator_credentials("olga", "operator")
        self.number = int(time.time() * 1000)
        self.good: dict[Scope, bytes] = {}
        self.attacked: set[str] = set()

    def next(self) -> int:
        self.number += 1
        return self.number

    def document(self, scope: Scope, who: Credentials | None = None, **more: Any) -> bytes:
        """An evil one that is newer than what is followed; of olga unless another signs."""
        values = more.pop("values", evil(scope))
        return document(who or self.olga, scope, values, **{"number": self.next(), **more})

    def forged(self, scope: Scope, **fields: Any) -> bytes:
        """A good new document, with these of its fields changed after it was signed."""
        envelope = json.loads(self.document(scope, values=good(scope, 99)))
        return json.dumps({**envelope, **{name: change(envelope[name]) for name, change in fields.items()}}).encode()

    def person(self, role: Any, *groups: str, name: str = "kim", **more: Any) -> Credentials:
        return self.owner.operator_credentials(name, role, groups=groups, **more)


def good(scope: Scope, count: int) -> dict[str, Any]:
    return {"app": {scope.name: {"count": count}}, "agent": {"heartbeat_seconds": GOOD_SECONDS}}


def evil(scope: Scope) -> dict[str, Any]:
    return {"app": {scope.name: {"count": "evil"}}, "agent": {"heartbeat_seconds": EVIL_SECONDS, "log_level": "error"}}


class Attack(NamedTuple):
    """made: what is stored in the scope, b"" with a header being a deletion. why: part of what the device says.

    scope: where; None: in a group of its own. went_back: it is no forgery, but the hub shows less than before.
    """

    made: Callable[[World, Scope], bytes]
    why: str
    scope: Scope | None = None
    went_back: bool = False
    headers: dict[str, str] | None = None


def flipped(text: str) -> str:
    """One bit of it, in the middle, the other way."""
    place = len(text) // 2
    return f"{text[:place]}{'A' if text[place] != 'A' else 'B'}{text[place + 1 :]}"


def newer(number: int) -> int:
    return number + 1


def by_a_role_of_the_hubs_making(world: World, scope: Scope) -> bytes:
    return world.document(scope, issued_by(KeyPair.generate("account"), world))


def by_a_role_that_the_hub_has(world: World, scope: Scope) -> bytes:
    """The hub makes devices, so it has their role's key."""
    return world.document(scope, issued_by(world.owner.key(role_key("device")), world))


def issued_by(role: KeyPair, world: World) -> Credentials:
    key = KeyPair.generate("user")
    ops = jwt.claims(world.olga.jwt)["nats"]["issuer_account"]
    token = jwt.scoped_user(role, subject=key.public, name="olga", account=ops, issued_at=now(), expires_at=now() + DAY)
    return Credentials(token, key.seed)


def by_a_login_that_names_a_pinned_role(world: World, scope: Scope) -> bytes:
    """Signed by nobody's role key, but claiming to be the operators'."""
    key, own = KeyPair.generate("user"), KeyPair.generate("account")
    claims = {**jwt.claims(world.olga.jwt), "sub": key.public}
    head, _, _ = world.olga.jwt.split(".")
    text = f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}"
    signature = base64.urlsafe_b64encode(own.sign(text.encode())).rstrip(b"=").decode()
    return world.document(scope, Credentials(f"{text}.{signature}", key.seed))


def with_anothers_login(world: World, scope: Scope) -> bytes:
    """Signed by olga, and the login of an administrator put in the place of hers."""
    return world.forged(scope, signer=lambda _: world.person("admin").jwt)


def moved_here(world: World, scope: Scope) -> bytes:
    """What was signed for the group munich, under this group's key, and saying that it is for it."""
    envelope = msgspec.json.decode(world.document(MUNICH, values=evil(scope)), type=Signed)
    return msgspec.json.encode(msgspec.structs.replace(envelope, scope=str(scope)))


def command(world: World, scope: Scope) -> bytes:
    body = msgspec.json.encode({"values": evil(scope)})
    return sign(world.olga, kind="command", scope=scope, number=world.next(), at=now(), body=body)


def well_signed(text: bytes) -> Callable[[World, Scope], bytes]:
    return lambda world, scope: sign(world.olga, kind="config", scope=scope, number=world.next(), at=now(), body=text)


def same_generation(world: World, scope: Scope) -> bytes:
    return world.document(scope, number=peek(world.good[scope]).number)


def older(world: World, scope: Scope) -> bytes:
    return world.document(scope, number=peek(world.good[scope]).number - 1)


def limited(world: World, scope: Scope) -> bytes:
    return world.document(scope, world.person("operator", "berlin"))


ATTACKS: dict[str, Attack] = {
    # Genuine once, changed since.
    "a byte of the body": Attack(
        partial(World.forged, body=lambda text: text.replace("99", "98")), "its signature is not olga's"
    ),
    "a byte of the signature": Attack(partial(World.forged, signature=flipped), "its signature is not olga's"),
    "no signature": Attack(partial(World.forged, signature=lambda _: ""), "its signature is not olga's"),
    "a newer generation": Attack(partial(World.forged, number=newer), "its signature is not olga's"),
    "another time": Attack(partial(World.forged, at=newer), "its signature is not olga's"),
    "a byte of the login": Attack(partial(World.forged, signer=flipped), "its signer is not known here"),
    "another's login": Attack(with_anothers_login, "its signature is not kim's"),
    "moved to another scope": Attack(moved_here, "its signature is not olga's"),
    # Genuine, but for something else.
    "of another scope": Attack(lambda world, scope: world.document(MUNICH), "it was signed as config for group.munich"),
    "of a group, to the device": Attack(lambda world, scope: world.document(BERLIN), "signed as config for group.berlin", DEVICE),
    "of another kind": Attack(command, "it was signed as command for"),
    "of the same generation": Attack(same_generation, "it is another document of the same generation"),
    "older": Attack(older, "is older than the one that this device follows", went_back=True),
    "deleted": Attack(lambda world, scope: b"", "no configuration for", went_back=True, headers={"KV-Operation": "DEL"}),
    "purged": Attack(lambda world, scope: b"", "no configuration for", went_back=True, headers={"KV-Operation": "PURGE"}),
    # Of somebody who may not.
    "an operator of its own": Attack(
        lambda world, scope: world.document(scope, Owner.create("thief").operator_credentials("olga", "admin")),
        "its signer is not known here",
    ),
    "a role of the hub's making": Attack(by_a_role_of_the_hubs_making, "its signer is not known here"),
    "a role that the hub has": Attack(by_a_role_that_the_hub_has, "its signer is not known here"),
    "a role that it only names": Attack(by_a_login_that_names_a_pinned_role, "its signer is not known here"),
    "a login without its key": Attack(
        lambda world, scope: world.document(scope, Credentials(world.olga.jwt, KeyPair.generate("user").seed)),
        "its signature is not olga's",
    ),
    "a viewer": Attack(lambda world, scope: world.document(scope, world.person("viewer")), "its signer is not known here"),
    "an expired login": Attack(
        lambda world, scope: world.document(scope, world.person("operator", expires_in_seconds=60), at=now() + 61),
        "login had expired when it was signed",
    ),
    "before the login was issued": Attack(
        lambda world, scope: world.document(scope, at=now() - DAY, number=1), "signed before olga's login was issued"
    ),
    "limited to berlin, for the fleet": Attack(limited, "kim is limited to the groups berlin", FLEET_ALL),
    "limited to berlin, for munich": Attack(limited, "kim is limited to the groups berlin", MUNICH),
    "limited to berlin, for a device": Attack(limited, "kim is limited to the groups berlin", DEVICE),
    # Of somebody who may, but that can't be meant.
    "an impossible value": Attack(
        lambda world, scope: world.document(scope, values={**evil(scope), "query": {"burst": 0}}),
        "query.burst = 0: it must be at least 1",
    ),
    "a generation that nothing could replace": Attack(
        lambda world, scope: world.document(scope, number=(now() + 3650 * DAY) * 1000), "ahead of the time at which it was signed"
    ),
    "a generation that nobody can read": Attack(
        lambda world, scope: world.document(scope, world.person("operator", expires_in_seconds=None), number=10**33, at=10**30),
        "its generation is no number",
    ),
    "nesting, well signed": Attack(
        well_signed(b'{"values":{"a":' + b'{"b":' * 5000 + b"1" + b"}" * 5002), "cannot read a config"
    ),
    # No document at all.
    "cut short": Attack(lambda world, scope: world.document(scope)[:-1], "cannot read a"),
    "rubbish": Attack(lambda world, scope: b"\xff\x00rubbish" * 100, "cannot read a"),
    "nothing": Attack(lambda world, scope: b"", "cannot read a"),
    "nesting": Attack(lambda world, scope: b'{"a":' * 13_000, "cannot read a"),
}
