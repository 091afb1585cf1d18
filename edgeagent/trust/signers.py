"""The document that says who may sign: made by an administrator, followed by devices. Pure."""

from __future__ import annotations

import contextlib

import msgspec

from edgeagent import wire
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.subjects import SIGNERS
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import check, peek, sign

__all__ = ["MAX_CHAIN", "SignersBody", "body_of", "changed", "envelope_of", "followed", "number_of"]

ADMIN = "admin"
#: How many changes of the administrators' role key one document carries along; a device that missed more must be enrolled again.
MAX_CHAIN = 16
_WHAT = "follow the signers"


class SignersBody(msgspec.Struct, omit_defaults=True):
    """What is signed; all of it counts, not the difference to the one before.

    signers: public role key -> role; None leaves those that a device has. revoked, floor: as in :class:`~edgeagent.trust.pins.Pins`.
    """

    signers: dict[str, str] | None = None
    revoked: dict[str, int] = {}
    floor: int = 0
    v: int = wire.VERSION


class _Stored(msgspec.Struct, omit_defaults=True):
    """What is stored under ``trust.signers``.

    document: the newest envelope. chain: earlier envelopes, oldest first: the last one before each change of the role key that signs
    this document, so that a device that was away for several changes can follow them one by one. Each proves itself.
    """

    document: str
    chain: list[str] = []
    v: int = wire.VERSION


def followed(pins: Pins, data: bytes) -> Pins:
    """The pins after the stored document ``data``; the same ones when it is not newer.

    Raises Refused when it is older than what the device follows or must not be followed, Failed when it is no such document.
    """
    stored = wire.decode(data, _Stored)
    if peek(stored.document.encode()).number == pins.generation:
        return pins
    for earlier in stored.chain[-MAX_CHAIN:]:
        with contextlib.suppress(EdgeError):  # one that this device is past already; the last document decides
            pins = _step(pins, earlier.encode())
    return _step(pins, stored.document.encode())


def _step(pins: Pins, envelope: bytes) -> Pins:
    found = check(envelope, kind="signers", scope=SIGNERS, pins=pins)
    if found.number < pins.generation:
        raise Refused(_WHAT, "the document is older than the one that this device follows")
    body = _body(found.body)
    signers = pins.signers if body.signers is None else body.signers
    if ADMIN not in signers.values():
        raise Refused(_WHAT, "the document would leave nobody who could ever change it")
    return Pins(signers=signers, revoked=body.revoked, floor=body.floor, generation=found.number)


def body_of(data: bytes) -> SignersBody:
    """The body of a stored document, for showing and changing; nothing is checked. Raises Failed when it is none."""
    return _body(peek(wire.decode(data, _Stored).document.encode()).body.encode())


def envelope_of(data: bytes) -> bytes:
    """The newest envelope of a stored document. Raises Failed when it is none."""
    return wire.decode(data, _Stored).document.encode()


def number_of(data: bytes) -> int:
    """The generation of a stored document. Raises Failed when it is none."""
    return peek(wire.decode(data, _Stored).document.encode()).number


def _body(body: bytes) -> SignersBody:
    try:
        return msgspec.json.decode(body, type=SignersBody)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failed(_WHAT, f"the document's body is damaged ({error})") from None


def changed(
    login: Credentials,
    before: bytes | None,
    *,
    now: float,
    revoke: dict[str, int] | None = None,
    unrevoke: set[str] | None = None,
    signers: dict[str, str] | None = None,
    only_a_link: bool = False,
) -> bytes:
    """The next document to store, signed with an administrator's ``login``.

    before: the stored one that it replaces, None for the first. now: Unix seconds.
    revoke: public user key -> Unix seconds, added. unrevoke: public user keys. signers: role keys that replace all; None leaves them.
    only_a_link: it will be followed at once by another one that says who is revoked; so the chain stays short.
    """
    was = body_of(before) if before else SignersBody()
    kept = {} if only_a_link else was.revoked
    body = SignersBody(
        signers=was.signers if signers is None else signers,
        revoked={key: until for key, until in {**kept, **(revoke or {})}.items() if key not in (unrevoke or set())},
        floor=was.floor,
    )
    number = max((number_of(before) if before else 0) + 1, int(now * 1000))
    at = max(int(now), number // 1000)  # this clock may be behind that of whoever signed the last one
    envelope = sign(login, kind="signers", scope=SIGNERS, number=number, at=at, body=msgspec.json.encode(body))
    return wire.encode(_Stored(document=envelope.decode(), chain=_chain(login, before)))


def _chain(login: Credentials, before: bytes | None) -> list[str]:
    """The chain of the one before, and that one itself if another role key signed it."""
    if before is None:
        return []
    stored = wire.decode(before, _Stored)
    signer_before = jwt.claims(peek(stored.document.encode()).signer).get("iss")
    same = signer_before == jwt.claims(login.jwt).get("iss")
    return [*stored.chain, *([] if same else [stored.document])][-MAX_CHAIN:]
