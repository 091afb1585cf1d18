"""The register of devices: KV ``edge_devices``, one record a device, written by the hub's side only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from edgeagent import subjects, wire
from edgeagent.direct import get_last
from edgeagent.errors import Failed, Refused
from edgeagent.hub.streams import DEVICES_BUCKET
from edgeagent.link import Client, request
from edgeagent.times import rfc3339
from edgeagent.trust.creds import Credentials

__all__ = ["add", "find", "record_of", "replace"]

PREFIX = "$JS.API"
WRONG_LAST_SEQUENCE = 10071


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


async def add(hub: Client, record: wire.DeviceRecord) -> None:
    """Add a device. hub: a connection to the account HUB. Raises Refused when its id is taken."""
    what = f"add {record.id}"
    if await find(hub, record.id):
        raise Refused(
            what,
            "there is a device of that id already",
            f"choose another id, or make new credentials for it: `edgeagent device add {record.id} --renew`",
        )
    if not await _store(hub, record, 0, what):
        raise Refused(what, "somebody added it just now", "choose another id")


async def find(hub: Client, device_id: str) -> tuple[wire.DeviceRecord, int] | None:
    """The device's record and its sequence, for :func:`replace`; None when there is no such device."""
    stored = await get_last(hub, f"KV_{DEVICES_BUCKET}", subjects.kv(DEVICES_BUCKET, device_id), prefix=PREFIX)
    return (wire.decode(stored.data, wire.DeviceRecord), stored.sequence) if stored else None


async def replace(hub: Client, record: wire.DeviceRecord, sequence: int) -> None:
    """Write the record over the one that was found with ``sequence``. Raises Refused when somebody else was first."""
    what = f"renew {record.id}"
    if not await _store(hub, record, sequence, what):
        raise Refused(what, "somebody changed it just now", "try again")


async def _store(hub: Client, record: wire.DeviceRecord, sequence: int, what: str) -> bool:
    """Write the record if the last one of its id has ``sequence`` (0: there is none); whether it was so."""
    subject, fence = subjects.kv(DEVICES_BUCKET, record.id), {"Nats-Expected-Last-Subject-Sequence": str(sequence)}
    answer = await request(hub, subject, wire.encode(record), what=what, headers=fence)
    error: dict[str, Any] | None = json.loads(answer.data).get("error")
    if error and error.get("err_code") != WRONG_LAST_SEQUENCE:
        raise Failed(what, str(error.get("description")))
    return error is None
