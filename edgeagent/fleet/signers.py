"""Changing who may sign, as an administrator: read the document, check it, sign the next one, write it if nobody was first."""

from __future__ import annotations

import time
from collections.abc import Mapping

from edgeagent import subjects
from edgeagent.administration import Person, refused_until
from edgeagent.direct import Stored, get_last
from edgeagent.errors import Failed, Refused
from edgeagent.fenced import stored_if
from edgeagent.link import Client
from edgeagent.trust import jwt, signers
from edgeagent.trust.creds import Credentials
from edgeagent.trust.pins import Pins

__all__ = ["change", "check_known", "hand_over", "revoke", "stored"]

_STREAM = f"KV_{subjects.TRUST_BUCKET}"
_SUBJECT = subjects.document(subjects.SIGNERS)
_WHAT = "change who may sign"
#: Two administrators at once are rare, three in a row are something else.
TRIES = 5


async def stored(client: Client) -> Stored | None:
    """The document as the hub has it, unchecked; None before the first change. client: a person's connection."""
    return await get_last(client, _STREAM, _SUBJECT)


async def change(
    client: Client,
    login: Credentials,
    *,
    revoke: Mapping[str, int] | None = None,
    unrevoke: set[str] | None = None,
    role_keys: Mapping[str, str] | None = None,
) -> int:
    """Sign the next document with an administrator's ``login`` and store it; its generation.

    revoke: public user key -> Unix seconds; what logins that were issued up to then sign is no longer followed. unrevoke: public user
    keys. role_keys: public role key -> role, all of them; None leaves them.
    Raises Refused when the stored document is not an administrator's, or others change it all the time.
    """
    for _ in range(TRIES):
        before = await stored(client)
        if before is not None:
            check_known(login, before.data)
        data = signers.changed(
            login,
            before.data if before else None,
            now=time.time(),
            revoke=dict(revoke or {}),
            unrevoke=unrevoke,
            signers=None if role_keys is None else dict(role_keys),
        )
        if await _store(client, data, before.sequence if before else 0):
            return signers.number_of(data)
    raise Refused(_WHAT, "somebody else changes it all the time", "try again")


async def revoke(client: Client, login: Credentials, person: Person, key: str = "") -> None:
    """Have devices follow nothing any more that was signed with a login of the ``person``.

    key: one public user key, where not all of them are meant. Raises as :func:`change`.
    """
    until = refused_until(person, time.time())
    await change(client, login, revoke=dict.fromkeys([key] if key else [person.key, *person.older], until))


async def hand_over(client: Client, old: Credentials, new: Credentials, role_keys: Mapping[str, str]) -> None:
    """Have devices follow ``role_keys`` from now on: said by the administrator ``old``, and again by ``new``.

    The two logins are of the old and the new key of the administrators, or both of the same. Doing it again does no harm.
    Raises as :func:`change`.
    """
    for _ in range(TRIES):
        before = await stored(client)
        known = before is None or _is_known(new, before.data)
        if before is not None and not known:
            check_known(old, before.data)
        document = before.data if before else None
        revoked = signers.body_of(document).revoked if document else {}
        if not known or before is None:
            document = signers.changed(old, document, now=time.time(), signers=dict(role_keys), only_a_link=True)
        document = signers.changed(new, document, now=time.time(), signers=dict(role_keys), revoke=revoked)
        if await _store(client, document, before.sequence if before else 0):
            return
    raise Refused(_WHAT, "somebody else changes it all the time", "try again")


def _is_known(login: Credentials, document: bytes) -> bool:
    try:
        check_known(login, document)
    except Refused:
        return False
    return True


def check_known(login: Credentials, document: bytes) -> None:
    """Raise Refused unless the document was signed with the same role key as ``login``.

    What it says is taken over into the next one: a hub that was broken into must not get its own key signed that way.
    """
    issuer = str(jwt.claims(login.jwt).get("iss", ""))
    try:
        signers.followed(Pins(signers={issuer: "admin"}), document)
    except (Refused, Failed) as error:
        why = f"the document that the hub has was not signed by an administrator of yours ({error.why})"
        raise Refused(
            _WHAT, why, "if the administrators' key was changed, you need a new login; else the hub was tampered with"
        ) from None


async def _store(client: Client, data: bytes, sequence: int) -> bool:
    """Write it if the stored one still has ``sequence`` (0: there is none); whether it was so."""
    return await stored_if(client, _SUBJECT, data, sequence, stream=_STREAM, what=_WHAT) is not None
