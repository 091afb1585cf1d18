"""Signing a scope's next document, so that devices follow it. Pure: the time is given by the caller."""

from __future__ import annotations

from edgeagent.errors import Refused, UsageProblem
from edgeagent.fleet.configversion import when
from edgeagent.subjects import Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import SKEW_SECONDS, check, sign

__all__ = ["MAX_BYTES", "believed_until", "check_reaches", "check_signed", "next_number", "signed_document"]

#: The bucket takes 64 KiB a message, with its headers.
MAX_BYTES = 60 << 10
#: How far in the future a generation may be for a login that never ends, in seconds.
_AHEAD_SECONDS = 366 * 86_400


def believed_until(now: float) -> int:
    """The highest generation that is built upon without more, in Unix milliseconds: clocks differ, but not by more. now: Unix seconds.

    Anybody can sign for the far future with a key of the own, and any device can say that it follows such a document. Were that built
    upon, they would push the operators' own generations on, up to where no login reaches.
    """
    return int((now + SKEW_SECONDS) * 1000)


def next_number(last: int, *, now: float) -> int:
    """The generation of the next document: the time, or one more than the last. last: 0 for none. now: Unix seconds."""
    return max(last + 1, int(now * 1000))


def check_reaches(login: Credentials, number: int, *, who: str, what: str, now: float) -> None:
    """Raise Refused when the login ends before the time that the generation ``number`` stands for: no device would follow it.

    who: whose document has to be exceeded. what: as for :class:`EdgeError`. A login that never ends reaches a year ahead.
    """
    ends = login.expires_at if login.expires_at is not None else int(now) + _AHEAD_SECONDS
    if number // 1000 <= ends:
        return
    why = (
        f"the document that devices follow ({who}) is dated {when(number)}, and this login ends before that, {when(ends * 1000)}"
    )
    raise Refused(
        what,
        f"{why}: no device would follow what it signs",
        "use a login with a later end (`edgeagent operator add NAME --expires ...`), or have an administrator revoke whoever signed "
        "that document (`edgeagent operator revoke`)",
    )


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
