"""What is to be told of each event of EDGE_EVENTS: it follows from all of them in their order."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from edgeagent import subjects, wire
from edgeagent.direct import read_all
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.notifyrules import Notice, OpenAlerts
from edgeagent.link import Client
from edgeagent.times import rfc3339

__all__ = ["STREAM", "Ledger"]

log = logging.getLogger("edgeagent.hub")

STREAM = "EDGE_EVENTS"
#: Judgements that are remembered: an event may come again, after others.
REMEMBERED = 1000


class Ledger:
    """What is to be told of each event of the stream: it reads all of them in their order. Whoever is told has one of his own: of
    two who share it, one that is behind would have it begin anew for each event. hub: a connection to the account HUB."""

    def __init__(self, hub: Client) -> None:
        self._hub = hub
        self._lock = asyncio.Lock()
        self._begin()

    def _begin(self) -> None:
        self._alerts, self._position = OpenAlerts(), 0
        self._judged: OrderedDict[int, Notice | None] = OrderedDict()

    async def notice(self, sequence: int) -> Notice | None:
        """What is to be told of the event with this sequence; None: nothing. Raises EdgeError when the hub does not answer."""
        async with self._lock:
            if sequence <= self._position and sequence not in self._judged:
                self._begin()  # so long ago, or of a stream that was made anew
            if sequence > self._position:
                await self._read(sequence)
            return self._judged.get(sequence)

    async def _read(self, last: int) -> None:
        pages = read_all(self._hub, STREAM, subjects.event("*", "*"), prefix=PREFIX, first=self._position + 1)
        try:
            async for stored in pages:
                self._judge(stored.sequence, stored.subject, stored.data, rfc3339(stored.time))
                if stored.sequence >= last:
                    return
        finally:
            await pages.aclose()
        self._position = max(self._position, last)  # it is gone

    def _judge(self, sequence: int, subject: str, data: bytes, stored: str) -> None:
        _, _, device, _, severity = subject.split(".")
        notice = None
        try:
            if subjects.is_id(device):
                notice = self._alerts.take(device, severity, wire.decode(data, wire.Event), stored)
        except Exception as error:  # mostly EdgeError; nothing that stands in the stream may stop all that comes after it
            log.debug("%r", error)
        self._position = sequence
        self._judged[sequence] = notice
        while len(self._judged) > REMEMBERED:
            self._judged.popitem(last=False)
