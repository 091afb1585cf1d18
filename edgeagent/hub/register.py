"""The register of devices: KV ``edge_devices``, one record a device, written by the hub's side only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from edgeagent import subjects, wire
from edgeagent.errors import Refused
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.streams import DEVICES_BUCKET
from edgeagent.link import Client
from edgeagent.times import rfc3339
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials

if TYPE_CHECKING:
    from edgeagent.hub.keyring import Keyring

__all__ = ["add", "bucket", "change", "every", "find", "issue", "keys_of", "record_of", "renewed", "replace", "with_key"]

#: A JWT that is issued for a device whose older ones are refused is from so many seconds after those, so that no rounding of either
#: side's clock takes it for one of them.
AFTER_REFUSED_SECONDS = 2


def record_of(credentials: Credentials, groups: Sequence[str]) -> wire.DeviceRecord:
    """What the register says of a device that was given ``credentials``."""
    return wire.DeviceRecord(
        id=credentials.name,
        groups=list(groups),
        key=credentials.public_key,
        issued_at=credentials.issued_at,
        expires_at=credentials.expires_at or 0,
        added=rfc3339(datetime.now(timezone.utc)),
    )


def renewed(old: wire.DeviceRecord, credentials: Credentials, groups: Sequence[str]) -> wire.DeviceRecord:
    """What the register says of a device that was given new ``credentials``, also with another key; all else stays."""
    record = with_key(old, credentials.public_key)
    times = {"issued_at": credentials.issued_at, "expires_at": credentials.expires_at or 0}
    return msgspec.structs.replace(record, groups=list(groups), **times)


def with_key(record: wire.DeviceRecord, public: str) -> wire.DeviceRecord:
    """The same device with the key ``public``, and no JWT for it yet. Those of its former keys are not forgotten: they still count."""
    return msgspec.structs.replace(
        record, key=public, issued_at=0, expires_at=0, older=keys_of(record), as_of=record.as_of if public == record.key else 0
    )


def issue(keyring: Keyring, record: wire.DeviceRecord, now: float) -> tuple[wire.DeviceRecord, str]:
    """A new JWT for the key and groups of ``record``, and the record that says so. It counts once that is written.

    now: Unix seconds. Raises UsageProblem for a record without a key. Whether the device may have one is the caller's to say.
    """
    issued_at = int(now)
    if record.refused_until:
        issued_at = max(issued_at, record.refused_until + AFTER_REFUSED_SECONDS)
    token = keyring.device_jwt(record.id, record.groups, record.key, issued_at=issued_at)
    expires_at = int(jwt.claims(token).get("exp", 0))
    # Those before go on to count beside the new one.
    older = {key: ends for key, ends in keys_of(record).items() if ends == 0 or ends > now}
    return msgspec.structs.replace(record, issued_at=issued_at, expires_at=expires_at, older=older), token


def keys_of(record: wire.DeviceRecord) -> dict[str, int]:
    """Every key that the device was given JWTs for -> when the last of those ends, Unix seconds; 0 = never."""
    keys = dict(record.older)
    if record.key and record.issued_at:
        ends = [record.expires_at, *([keys[record.key]] if record.key in keys else [])]
        keys[record.key] = 0 if 0 in ends else max(ends)
    return keys


def bucket(hub: Client) -> Bucket[wire.DeviceRecord]:
    return Bucket(hub, DEVICES_BUCKET, wire.DeviceRecord)


async def add(hub: Client, record: wire.DeviceRecord) -> None:
    """Add a device. hub: a connection to the account HUB. Raises Refused when its id is taken."""
    what = f"add {record.id}"
    if await find(hub, record.id):
        raise Refused(
            what,
            "there is a device of that id already",
            f"choose another id, or make new credentials for it: `edgeagent device add {record.id} --renew`",
        )
    if not await bucket(hub).put(record.id, record, 0, what=what):
        raise Refused(what, "somebody added it just now", "choose another id")


async def find(hub: Client, device_id: str) -> tuple[wire.DeviceRecord, int] | None:
    """The device's record and its sequence, for :func:`replace`; None when there is no such device."""
    return await bucket(hub).find(device_id)


async def every(hub: Client) -> dict[str, wire.DeviceRecord]:
    """The whole register, by id."""
    return {key: record for key, (record, _) in (await bucket(hub).all()).items() if subjects.is_id(key)}


async def replace(hub: Client, record: wire.DeviceRecord, sequence: int) -> None:
    """Write the record over the one that was found with ``sequence``. Raises Refused when somebody else was first."""
    what = f"renew {record.id}"
    if not await bucket(hub).put(record.id, record, sequence, what=what):
        raise Refused(what, "somebody changed it just now", "try again")


async def change(
    hub: Client, device_id: str, make: Callable[[wire.DeviceRecord], wire.DeviceRecord | None], *, what: str
) -> wire.DeviceRecord | None:
    """Write what ``make`` makes of the device's record, and return it; None when it wants nothing written.

    ``make`` is called again when somebody else wrote meanwhile. Raises Refused when there is no such device.
    """

    def made(record: wire.DeviceRecord | None) -> wire.DeviceRecord | None:
        if record is None:
            raise Refused(what, "there is no such device")
        return make(record)

    return await bucket(hub).change(device_id, made, what=what)
