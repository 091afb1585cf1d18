"""Writing configuration as an operator does, or as an attacker would, and reading what devices say of it."""

from __future__ import annotations

import json
import time
from typing import Any

from edgeagent import config, subjects, wire
from edgeagent.direct import get_last
from edgeagent.fleet import Fleet
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.subjects import Scope
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials
from edgeagent.trust.signed import sign

__all__ = ["Writer", "document", "state_of"]


def document(
    login: Credentials, scope: Scope, values: dict[str, Any], *, number: int | None = None, at: int | None = None, note: str = ""
) -> bytes:
    """A signed envelope. number: its generation; None: now. at: Unix seconds; None: now."""
    body = wire.encode(config.Document(values=values, note=note))
    number = time.time_ns() // 1_000_000 if number is None else number
    return sign(login, kind="config", scope=scope, number=number, at=int(time.time()) if at is None else at, body=body)


class Writer:
    """Puts documents into the hub's bucket, unfenced. client: an operator's, or the hub's own. login: who signs."""

    def __init__(self, client: Client, login: Credentials) -> None:
        self.client, self.login = client, login

    @classmethod
    def of(cls, fleet: Fleet) -> Writer:
        return cls(fleet.client, fleet.login)

    async def put(self, scope: Scope, values: dict[str, Any], **more: Any) -> int:
        """Sign and store; the generation."""
        data = document(self.login, scope, values, **more)
        await self.raw(scope, data)
        return int(json.loads(data)["number"])

    async def raw(self, scope: Scope, data: bytes) -> int:
        """Store these bytes; the revision."""
        return await published(self.client, subjects.document(scope), data)


async def state_of(client: Client, device_id: str) -> wire.ConfigState:
    """What the device's newest report says of its configuration. client: a person's."""
    found = await get_last(client, "EDGE_REPORTS", subjects.report(device_id))
    report = wire.decode(found.data, wire.Report) if found else None
    return (report.config if report else None) or wire.ConfigState()


def login_of(path: Any) -> Credentials:
    """The credentials in a file."""
    return creds.load(path)
