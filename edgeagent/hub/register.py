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

__all__ = ["add", "record_of"]

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
    subject = subjects.kv(DEVICES_BUCKET, record.id)
    existing = await get_last(hub, f"KV_{DEVICES_BUCKET}", subject, prefix=PREFIX)
    if existing:
        raise Refused(what, "there is a device of that id already", "choose another id")
    error = await _store(hub, record)
    if error and error.get("err_code") == WRONG_LAST_SEQUENCE:
        raise Refused(what, "somebody added it just now", "choose another id")
    if error:
        raise Failed(what, str(error.get("description")))


async def _store(hub: Client, record: wire.DeviceRecord) -> dict[str, Any] | None:
    """Write the record if there is none of its id; JetStream's error otherwise."""
    subject, first = subjects.kv(DEVICES_BUCKET, record.id), {"Nats-Expected-Last-Subject-Sequence": "0"}
    answer = await request(hub, subject, wire.encode(record), what=f"add {record.id}", headers=first)
    error: dict[str, Any] | None = json.loads(answer.data).get("error")
    return error
