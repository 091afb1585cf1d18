"""Signing a scope's next document, so that devices follow it. Pure: the time is given by the caller."""

from __future__ import annotations

from edgeagent.errors import Refused, UsageProblem
from edgeagent.subjects import Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import check, sign

__all__ = ["MAX_BYTES", "check_signed", "next_number", "signed_document"]

#: The bucket takes 64 KiB a message, with its headers.
MAX_BYTES = 60 << 10
#: How far in the future a generation may be for a login that never ends, in seconds.
_AHEAD_SECONDS = 366 * 86_400


def next_number(last: int, login: Credentials, *, now: float) -> int:
    """The generation of the next document: the time, or one more than the last.

    last: the generation of the stored one, 0 for none. now: Unix seconds. A number that this login could not sign any more is not
    built upon: no device follows it, and none would follow what comes after it.
    """
    ends = login.expires_at if login.expires_at is not None else now + _AHEAD_SECONDS
    return max(last + 1 if last < ends * 1000 else 0, int(now * 1000))


def signed_document(login: Credentials, scope: Scope, body: bytes, *, number: int, now: float) -> bytes:
    """The envelope to store. now: Unix seconds. Raises UsageProblem when it is too large."""
    at = max(int(now), number // 1000)  # this clock may be behind that of whoever signed the last one
    data = sign(login, kind="config", scope=scope, number=number, at=at, body=body)
    if len(data) > MAX_BYTES:
        why = f"it has {len(data):,} bytes with its signature, and {MAX_BYTES:,} fit"
        raise UsageProblem(f"store the configuration of {scope}", why, "shorten it, or have the program fetch what is large")
    return data


def check_signed(login: Credentials, scope: Scope, data: bytes) -> None:
    """Raise Refused when a device that trusts the login's role would not follow it: a clock is wrong, or it is limited."""
    issuer = str(jwt.claims(login.jwt).get("iss", ""))
    role = "group-operator" if login.groups else "operator"
    try:
        check(data, kind="config", scope=scope, pins=Pins(signers={issuer: role}))
    except Refused as error:
        why = f"devices would not follow it: {error.why}"
        raise Refused(f"sign the configuration of {scope}", why, "check this machine's clock, and the login's end") from None
