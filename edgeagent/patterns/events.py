"""What a person should see, sent to the hub as soon as there is one. At most so many wait; what had no room is counted."""

from __future__ import annotations

import asyncio
import logging
import secrets
import unicodedata
from collections import deque
from datetime import datetime, timezone

from edgeagent import subjects, wire
from edgeagent.backoff import delays
from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.runtime import woken
from edgeagent.times import rfc3339

__all__ = ["Events"]

#: How many wait for the hub; then the oldest go.
WAITING = 100
#: Bounds of the pause after the hub did not take one, in seconds.
RETRY_SECONDS = (1.0, 60.0)
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class Events:
    """The events of one device. They are logged at once; those that wait when the agent ends are lost."""

    def __init__(self, device_id: str) -> None:
        self._id = device_id
        self._waiting: deque[tuple[str, wire.Event]] = deque()
        self._wake = asyncio.Event()
        self.dropped = 0

    def tell(self, severity: str, kind: str, text: str, **data: object) -> None:
        """severity: one of debug, info, warning, error, critical. kind, text, data: as in :class:`wire.Event`."""
        logging.getLogger("edgeagent").log(_LEVELS[severity], "%s", _one_line(text))
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped += 1
        now = rfc3339(datetime.now(timezone.utc))
        self._waiting.append((severity, wire.Event(kind=kind, text=text, data=data, id=secrets.token_hex(8), time=now)))
        self._wake.set()

    def link_came(self) -> None:
        """The hub can be reached (again)."""
        self._wake.set()

    async def run(self, client: Client) -> None:
        """Send for ever, in order; one that was not acknowledged is sent again."""
        pauses = delays(*RETRY_SECONDS)
        while True:
            good = await self._send_all(client)
            pauses = delays(*RETRY_SECONDS) if good else pauses
            await woken(self._wake, None if good else next(pauses))

    async def _send_all(self, client: Client) -> bool:
        while self._waiting:
            severity, event = first = self._waiting[0]
            try:
                await published(client, subjects.event(self._id, severity), wire.encode(event))
            except EdgeError:
                return False
            if self._waiting and self._waiting[0] is first:
                self._waiting.popleft()
        return True


def _one_line(text: str) -> str:
    """Without control characters: it may quote what others wrote, and must neither forge a line of the log nor move a cursor."""
    bad = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in bad else char for char in text)
