"""Signed documents and log entries: who signed what, for whom, when. Pure; nothing here looks at a clock or a disk.

An operator signs with the user key of the own login, and sends the login's JWT along. A device checks that the JWT was issued by a
role key that it has pinned (:mod:`edgeagent.trust.pins`), that this role may do this, and that the signature is over these very
bytes. So neither the hub nor another device can write configuration or commands, or move them to another scope or number.
"""

from __future__ import annotations

import base64
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from edgeagent import wire
from edgeagent.errors import Failed, Refused
from edgeagent.subjects import Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import ACTION_TAG, GROUP_TAG, Credentials
from edgeagent.trust.nkeys import KeyPair, verify
from edgeagent.trust.pins import Pins

__all__ = [
    "DOCUMENTS",
    "KINDS",
    "SKEW_SECONDS",
    "Revoked",
    "Signature",
    "Signed",
    "Untrusted",
    "check",
    "peek",
    "self_consistent",
    "sign",
]

#: kind -> the roles that may sign it. ``group-operator``: only for scopes of the groups in the JWT.
KINDS: dict[str, frozenset[str]] = {
    "config": frozenset({"operator", "admin", "group-operator"}),
    "command": frozenset({"operator", "admin", "group-operator"}),
    "signers": frozenset({"admin"}),
}
#: Kinds of which only the newest counts. Their number is a time, Unix milliseconds, or one more than the last.
DOCUMENTS = frozenset({"config", "signers"})
#: How far the signer's clock may be from the one that issued the JWT, in seconds.
SKEW_SECONDS = 300
#: Larger ones are not even read. JetStream takes no larger command (docs/wire.md).
MAX_BYTES = 256 << 10
#: How much is repeated of what an envelope says before anything of it was checked, in characters.
MAX_QUOTED = 100
#: The first line of what is signed: nothing else that these keys sign (a nonce, a JWT) begins like this.
_HEAD = "edgeagent signed 1"


class Untrusted(Refused):
    """Its signer is nobody whom the device follows now; a newer document of who may sign can change that."""


class Revoked(Untrusted):
    """Its signer was somebody whom the device follows, until that login was revoked."""


class Signed(msgspec.Struct, omit_defaults=True):
    """What is stored. The signature is over kind, scope, number, time and the very text of the body.

    scope: ``<kind>.<name>``. number: a document's generation, an entry's number. at: when it was signed, Unix seconds.
    signer: the user's JWT. signature: base64url without padding.
    """

    kind: str
    scope: str
    number: int
    at: int
    body: str
    signer: str
    signature: str = ""
    v: int = wire.VERSION

    def _signed_bytes(self) -> bytes:
        # The body comes last: nothing before it can hold a line break, so no two messages have the same bytes.
        return "\n".join((_HEAD, self.kind, self.scope, str(self.number), str(self.at), self.body)).encode()


class Signature(NamedTuple):
    """What a good signature says. groups, actions: what the signer is limited to; none: not limited. issued: when the signer's login
    was, Unix seconds.

    The caller compares ``number`` with what it has: an older one is refused there.
    """

    body: bytes
    number: int
    at: int
    signer: str
    key: str
    role: str
    groups: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    issued: int = 0

    def may(self, action: str) -> bool:
        """Whether the signer may give the command ``action``: limits are globs such as ``service.*``."""
        return not self.actions or any(fnmatchcase(action, allowed) for allowed in self.actions)


def sign(login: Credentials, *, kind: str, scope: Scope, number: int, at: int, body: bytes) -> bytes:
    """The envelope to store. body: UTF-8 text. at: Unix seconds."""
    if kind not in KINDS:
        raise ValueError(f"no such kind: {kind!r}")
    draft = Signed(kind=kind, scope=str(scope), number=number, at=at, body=body.decode(), signer=login.jwt)
    made = KeyPair.from_seed(login.seed).sign(draft._signed_bytes())
    return wire.encode(msgspec.structs.replace(draft, signature=base64.urlsafe_b64encode(made).rstrip(b"=").decode()))


def peek(data: bytes) -> Signed:
    """The envelope as it is, nothing checked: for showing, never for acting. Raises Failed when it is none."""
    if len(data) > MAX_BYTES:
        raise Failed("read a signed document", f"it has {len(data)} bytes; {MAX_BYTES} are allowed")
    try:
        return wire.decode(data, Signed)
    except Failed as error:
        raise Failed("read a signed document", error.why) from None


def check(data: bytes, *, kind: str, scope: Scope, pins: Pins) -> Signature:
    """What the signature says, if it is good for ``kind`` and ``scope``.

    Raises Failed when it is no envelope, Refused with the reason when it must not be followed, Untrusted if that is who signed it.
    """
    envelope, what = peek(data), f"follow the {kind} for {scope}"
    if envelope.kind != kind or envelope.scope != str(scope):
        raise Refused(what, f"it was signed as {envelope.kind[:MAX_QUOTED]} for {envelope.scope[:MAX_QUOTED]}")
    if not pins.signers:
        raise Refused(what, "this device knows nobody who may sign", "enrol it with `edgeagent enroll`")
    try:
        claims = jwt.decode(envelope.signer, issuers=pins.signers)
    except (Refused, Failed) as error:
        raise Untrusted(what, f"its signer is not known here ({error.why})") from None
    key, name = str(claims.get("sub", "")), str(claims.get("name", ""))
    if not _is_genuine(key, envelope):
        raise Refused(what, f"its signature is not {name}'s")
    if claims["nats"].get("type") != "user":
        raise Refused(what, "its signer is no user")
    role, limits = pins.signers[claims["iss"]], jwt.tags(claims)
    found = Signature(
        envelope.body.encode(),
        envelope.number,
        envelope.at,
        name,
        key,
        role,
        limits.get(GROUP_TAG, ()),
        limits.get(ACTION_TAG, ()),
        int(claims.get("iat", 0)),
    )
    if pins.has_revoked(key, found.issued):
        raise Revoked(what, f"{name}'s login was revoked")
    problem = _role_problem(found, kind, scope) or _time_problem(found, kind, claims, pins)
    if problem:
        raise Refused(what, problem)
    return found


def self_consistent(envelope: Signed) -> str:
    """The name of the signer, if the signature is that of the user whose JWT is in the envelope.

    This says that nobody has changed it since, not that the signer may be followed: who is pinned only devices know.
    Raises Refused otherwise.
    """
    what = f"build on the {envelope.kind} for {envelope.scope}"
    try:
        claims = jwt.decode(envelope.signer)
    except (Refused, Failed) as error:
        raise Refused(what, f"its signer's JWT is not genuine ({error.why})") from None
    name = str(claims.get("name", ""))
    if not _is_genuine(str(claims.get("sub", "")), envelope):
        raise Refused(what, f"its signature is not {name}'s")
    return name


def _is_genuine(key: str, envelope: Signed) -> bool:
    try:
        raw = base64.urlsafe_b64decode(envelope.signature + "=" * (-len(envelope.signature) % 4))
    except ValueError:
        return False
    return verify(key, envelope._signed_bytes(), raw)


def _role_problem(found: Signature, kind: str, scope: Scope) -> str:
    if found.role not in KINDS[kind]:
        return f"{found.signer} has the role {found.role}, which may not sign it"
    if found.role == "group-operator" and not (scope.kind == "group" and scope.name in found.groups):
        return f"{found.signer} is limited to the groups {', '.join(found.groups) or '(none)'}"
    return ""


def _time_problem(found: Signature, kind: str, claims: jwt.Claims, pins: Pins) -> str:
    """A login signs only while it is good. Whether it is good *now* does not matter: what it signed stays."""
    issued, expires = int(claims.get("iat", 0)), claims.get("exp")
    if found.at < issued - SKEW_SECONDS:
        return f"it was signed before {found.signer}'s login was issued"
    if expires is not None and found.at > int(expires):
        return f"{found.signer}'s login had expired when it was signed"
    if kind in DOCUMENTS and found.number > (found.at + SKEW_SECONDS) * 1000:
        return "its number is ahead of the time at which it was signed, so that nothing could ever replace it"
    if found.at < pins.floor:
        return "it was signed before what this device still accepts"
    return ""
