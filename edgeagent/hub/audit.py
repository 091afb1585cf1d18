"""Reading EDGE_AUDIT for administrators: everything that was ever commanded or configured, as the hub's own copy has it.

The stream copies the others by itself, nothing in it can be deleted or purged, and no person may write or read it: so what it says does
not depend on the honesty of a client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgeagent import subjects, wire
from edgeagent.administration import AUDIT, AuditEntry, AuditPage, ReadAudit
from edgeagent.direct import read_all
from edgeagent.errors import UsageProblem
from edgeagent.hub.administration import Handler
from edgeagent.hub.bucket import PREFIX
from edgeagent.link import Client
from edgeagent.patience import asked
from edgeagent.times import parse_rfc3339, rfc3339

__all__ = ["Audit"]

STREAM = "EDGE_AUDIT"
#: A page must fit into one message (1 MB), with the largest entry (256 KiB) and base64 around it.
PAGE_BYTES, PAGE_ENTRIES = 400_000, 1000


class Audit:
    """hub: a connection to the account HUB."""

    def __init__(self, hub: Client) -> None:
        self._hub = hub

    def handlers(self) -> Mapping[str, Handler]:
        return {AUDIT: self._page}

    async def _page(self, user: str, body: bytes) -> AuditPage:
        order = wire.decode(body, ReadAudit)
        first = max(1, order.first)
        if order.since:
            since = await self._first_since(order.since)
            if since is None:
                return AuditPage(entries=[])
            first = max(first, since)
        return await self._from(first)

    async def _from(self, first: int) -> AuditPage:
        page, size = AuditPage(entries=[]), 0
        async for item in read_all(self._hub, STREAM, ">", prefix=PREFIX, first=first, marks=True):
            size += len(item.data)
            if page.entries and (size > PAGE_BYTES or len(page.entries) >= PAGE_ENTRIES):
                page.following = item.sequence
                break
            time = rfc3339(item.time)
            page.entries.append(AuditEntry(item.sequence, item.subject, time, item.data, item.deleted))
        return page

    async def _first_since(self, since: str) -> int | None:
        """The sequence of the first message that was stored then or later, None when there is none."""
        try:
            moment = rfc3339(parse_rfc3339(since))
        except ValueError:
            raise UsageProblem("read the audit", f"{since!r} is no time") from None
        question = json.dumps({"start_time": moment, "next_by_subj": ">"}).encode()
        found = await asked(self._hub, subjects.direct_get(STREAM, prefix=PREFIX), question, what="read the audit")
        headers = found.headers or {}
        return int(headers["Nats-Sequence"]) if "Nats-Time-Stamp" in headers else None
