"""NATS JWTs, version 2: what an operator, an account or a user may do, signed with an nkey.

Written here rather than taken from a library: the one on PyPI encodes ``signing_keys`` in a way that nats-server refuses and knows
no scopes. The field names are those of github.com/nats-io/jwt/v2. Pure: the time is given by the caller.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from edgeagent.errors import Failed, Refused
from edgeagent.trust.nkeys import KeyPair, verify

__all__ = [
    "Claims",
    "account",
    "activation",
    "claims",
    "decode",
    "encode",
    "operator",
    "scope",
    "scoped_user",
    "tags",
    "user",
]

Claims = dict[str, Any]

VERSION = 2
_HEAD = {"typ": "JWT", "alg": "ed25519-nkey"}
#: -1 is "no limit" everywhere in these claims.
_ACCOUNT_LIMITS = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
#: An account without these has no JetStream.
_JETSTREAM_LIMITS = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
_USER_LIMITS = dict.fromkeys(("subs", "data", "payload"), -1)


def encode(
    signer: KeyPair, *, subject: str, name: str, nats: Mapping[str, Any], issued_at: int, expires_at: int | None = None
) -> str:
    """Sign the claims ``nats`` about the public key ``subject``.

    issued_at, expires_at: Unix seconds; None never expires. A revocation counts for tokens issued up to and in its own second.
    """
    body: Claims = {"iat": issued_at, "iss": signer.public, "name": name, "sub": subject}
    if expires_at is not None:
        body["exp"] = expires_at
    body["nats"] = {**nats, "version": VERSION}
    body["jti"] = base64.b32encode(hashlib.sha256(_json(body)).digest()).rstrip(b"=").decode()
    signed = f"{_base64(_json(_HEAD))}.{_base64(_json(body))}"
    return f"{signed}.{_base64(signer.sign(signed.encode()))}"


def claims(token: str) -> Claims:
    """Read a token without asking who signed it: for one's own credentials only. Raises Failed when it is no JWT."""
    try:
        _, body, _ = token.split(".")
        read = msgspec.json.decode(_unbase64(body))  # it refuses half of a surrogate pair, which no message could carry on
    except (ValueError, RecursionError):
        raise Failed("read a JWT", "it is damaged or no JWT") from None
    if not isinstance(read, dict) or not isinstance(read.get("nats"), dict):
        raise Failed("read a JWT", "it is not one of NATS")
    tags = read["nats"].get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Failed("read a JWT", "its tags are no list of text")
    return read


def decode(token: str, *, issuers: Iterable[str] | None = None) -> Claims:
    """Read a token and check its signature.

    issuers: the public keys that may have signed it; None takes whichever the token names, which proves only that it is whole.
    Does not look at the clock: a device without a battery-backed one must decide that for itself.
    Raises Failed when it is no JWT, Refused when the signature is wrong or the issuer another.
    """
    read = claims(token)
    issuer = str(read.get("iss", ""))
    if issuers is not None and issuer not in set(issuers):
        raise Refused("trust a JWT", f"it was issued by {issuer}, who may not")
    signed, _, signature = token.rpartition(".")
    try:
        genuine = verify(issuer, signed.encode(), _unbase64(signature))
    except ValueError:
        genuine = False
    if not genuine:
        raise Refused("trust a JWT", "its signature is wrong")
    return read


def tags(read: Claims) -> dict[str, tuple[str, ...]]:
    """The ``key:value`` tags of a user, by key, in the order in which they were given."""
    found: dict[str, list[str]] = {}
    for tag in read["nats"].get("tags") or []:
        key, _, value = tag.partition(":")
        found.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in found.items()}


def operator(signer: KeyPair, *, name: str, system_account: str, issued_at: int, signing_keys: Sequence[str] = ()) -> str:
    """The operator's self-signed JWT, for the ``operator`` line of the hub's configuration.

    signing_keys: public operator keys that may sign accounts in its place.
    """
    nats: Claims = {"type": "operator", "system_account": system_account}
    if signing_keys:
        nats["signing_keys"] = list(signing_keys)
    return encode(signer, subject=signer.public, name=name, nats=nats, issued_at=issued_at)


def account(
    signer: KeyPair,
    *,
    subject: str,
    name: str,
    issued_at: int,
    jetstream: bool = False,
    signing_keys: Sequence[str | Claims] = (),
    exports: Sequence[Claims] = (),
    imports: Sequence[Claims] = (),
    revocations: Mapping[str, int] | None = None,
    limits: Mapping[str, int] | None = None,
) -> str:
    """An account's JWT.

    signing_keys: public account keys (plain) and :func:`scope` claims (bound to a template).
    revocations: public user key -> Unix seconds; every JWT of that user issued until then is refused.
    limits: those that differ from "none", by their names in the claims.
    """
    nats: Claims = {
        "type": "account",
        "limits": {**_ACCOUNT_LIMITS, **(_JETSTREAM_LIMITS if jetstream else {}), **(limits or {})},
        "signing_keys": list(signing_keys),
        "exports": list(exports),
        "imports": list(imports),
        "revocations": dict(revocations or {}),
    }
    nats = {key: value for key, value in nats.items() if value}
    return encode(signer, subject=subject, name=name, nats=nats, issued_at=issued_at)


def scope(key: str, *, role: str, template: Mapping[str, Any]) -> Claims:
    """A signing key whose users all have the rights of ``template``, whatever their own JWT says."""
    return {"kind": "user_scope", "key": key, "role": role, "template": {**_USER_LIMITS, **template}}


def scoped_user(
    signer: KeyPair,
    *,
    subject: str,
    name: str,
    account: str,
    issued_at: int,
    expires_at: int | None = None,
    tags: Sequence[str] = (),
) -> str:
    """A user signed by the key of a :func:`scope`: carries no rights of its own (the server refuses one that does).

    name: becomes ``{{name()}}`` in the template. tags: ``key:value``, lower case; ``{{tag(key)}}`` expands to every value.
    """
    if any(tag != tag.lower() for tag in tags):
        raise ValueError(f"tags must be lower case: {list(tags)}")
    nats: Claims = {"type": "user", "issuer_account": account}
    if tags:
        nats["tags"] = list(tags)
    return encode(signer, subject=subject, name=name, nats=nats, issued_at=issued_at, expires_at=expires_at)


def user(
    signer: KeyPair,
    *,
    subject: str,
    name: str,
    account: str,
    issued_at: int,
    expires_at: int | None = None,
    rights: Mapping[str, Any] | None = None,
    connection_types: Sequence[str] = (),
    bearer: bool = False,
) -> str:
    """A user with rights of its own, signed by the account or a plain signing key of it.

    rights: ``pub`` and ``sub`` with ``allow`` and ``deny`` lists, and limits that differ from "none"; None may do everything.
    connection_types: of STANDARD, WEBSOCKET, LEAFNODE, LEAFNODE_WS, MQTT, IN_PROCESS; empty allows all.
    bearer: whoever has the JWT is the user; no seed is asked for.
    """
    nats: Claims = {"type": "user", **_USER_LIMITS, **(rights or {})}
    if signer.public != account:
        nats["issuer_account"] = account
    if connection_types:
        nats["allowed_connection_types"] = list(connection_types)
    if bearer:
        nats["bearer_token"] = True
    return encode(signer, subject=subject, name=name, nats=nats, issued_at=issued_at, expires_at=expires_at)


def activation(signer: KeyPair, *, importer: str, subject: str, kind: str, issued_at: int) -> str:
    """Lets the account ``importer`` import the private export ``subject`` (``kind``: ``stream`` or ``service``) of the signer."""
    nats = {"type": "activation", "kind": kind, "subject": subject}
    return encode(signer, subject=importer, name=subject, nats=nats, issued_at=issued_at)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
