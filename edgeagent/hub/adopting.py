"""Which devices belong into the register although it does not say so: those that the hub let in, and forgot when it went back. Pure.

A hub that was restored from a backup does not know who enrolled, renewed, or took another's place since. What a device shows when it
links proves it: a JWT that this hub signed, checked by the server. Without a record it would run, but could neither renew nor be revoked.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import msgspec

from edgeagent import subjects
from edgeagent.errors import EdgeError
from edgeagent.hub import register
from edgeagent.times import moment, rfc3339
from edgeagent.trust import jwt
from edgeagent.trust.creds import GROUP_TAG
from edgeagent.wire import DeviceRecord

__all__ = ["Shown", "adopted", "is_refused", "is_replaced", "read_shown"]


class Shown(NamedTuple):
    """What a device's JWT says. expires_at: Unix seconds, 0 for never. token: the JWT, whose signature nobody has looked at here."""

    device: str
    key: str
    groups: list[str]
    issued_at: int
    expires_at: int
    token: str


def read_shown(data: bytes) -> Shown | None:
    """Read ``$SYS.ACCOUNT.<account>.CONNECT``; None if it is not about a device's leaf node."""
    client = json.loads(data).get("client", {})
    token = str(client.get("jwt", ""))
    try:
        read = jwt.claims(token)
        numbers = int(read.get("iat", 0)), int(read.get("exp", 0))
    except (EdgeError, ValueError, TypeError):
        return None
    device, groups = str(read.get("name", "")), list(jwt.tags(read).get(GROUP_TAG, ()))
    if client.get("kind") != "Leafnode" or not subjects.is_id(device) or not all(map(subjects.is_id, groups)):
        return None
    return Shown(device, str(read.get("sub", "")), groups, *numbers, token)


def adopted(record: DeviceRecord | None, shown: Shown, now: float) -> DeviceRecord | None:
    """What the register is to say of a device that was let in so; None: what it says already. now: Unix seconds.

    Only what was issued later than anything that the register knows of counts: nothing that was replaced is believed. What was decided about
    the device since it was issued counts for a key, too, that nobody knew of then: :func:`is_refused`.
    """
    if record is None:
        added = rfc3339(moment(now))
        return DeviceRecord(
            id=shown.device,
            groups=shown.groups,
            key=shown.key,
            issued_at=shown.issued_at,
            expires_at=shown.expires_at,
            added=added,
        )
    known = register.keys_of(record)
    if shown.key not in known and record.revoked and not _is_newer(record, shown):
        return msgspec.structs.replace(record, older={**record.older, shown.key: shown.expires_at})
    if not _is_newer(record, shown) or (shown.key in known and is_refused(record, shown)):
        return None
    # What the register knows of JWTs for this key stays true; other keys are put out, as when a board takes another's place.
    older = {key: ends for key, ends in known.items() if key == shown.key}
    regrouped = shown.issued_at <= record.refused_until
    return msgspec.structs.replace(
        record,
        groups=record.groups if regrouped else shown.groups,
        key=shown.key,
        issued_at=shown.issued_at,
        expires_at=shown.expires_at,
        older=older,
        as_of=record.as_of if record.key == shown.key else 0,
        refused_until=record.refused_until if regrouped or record.key == shown.key else 0,
    )


def is_refused(record: DeviceRecord, shown: Shown) -> bool:
    """Whether the JWT is to be refused although a server let it in: whoever revoked the device or changed its groups knew another key only."""
    return record.revoked or shown.issued_at <= record.refused_until


def is_replaced(record: DeviceRecord | None, shown: Shown) -> bool:
    """Whether it is a board whose place another one took, of which the hub knows nothing any more: not its key, so it was never put out."""
    if record is None or record.revoked or shown.key in register.keys_of(record):
        return False
    return not _is_newer(record, shown)


def _is_newer(record: DeviceRecord, shown: Shown) -> bool:
    """Whether it was issued later than what the register knows of. What a board was given since the hub went back is no proof that no other
    has taken its place before."""
    is_another = shown.key not in register.keys_of(record)
    return shown.issued_at > (record.as_of if is_another and record.as_of else record.issued_at)
