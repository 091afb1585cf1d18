"""What a person should see, sent to the hub as soon as there is one. At most so many wait; what had no room is counted."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone

from edgeagent import subjects, wire
from edgeagent.backoff import delays
from edgeagent.errors import EdgeError, Failed
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.runtime import woken
from edgeagent.times import rfc3339

__all__ = ["Events"]

log = logging.getLogger("edgeagent")

#: How many wait for the hub; then the oldest go.
WAITING = 100
#: What an event may hold, in characters of its text, its kind, and each value as text: the stream takes 16 KiB, in which a character can
#: have six bytes, and events quote what others wrote.
MAX_TEXT, MAX_KIND, MAX_VALUE = 1000, 100, 500
#: An event that the hub refused so many times is given up: the others must not wait behind it.
MAX_REFUSED = 3
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
        self._waiting: deque[tuple[str, wire.Event, Callable[[], None] | None]] = deque()
        self._wake = asyncio.Event()
        self._refused = 0
        self.dropped = 0
        #: Called when the hub has all of them: there is room for what had none.
        self.on_empty: Callable[[], None] = lambda: None

    def tell(self, severity: str, kind: str, text: str, *, on_sent: Callable[[], None] | None = None, **data: object) -> None:
        """severity: one of debug, info, warning, error, critical. kind, text, data: as in :class:`wire.Event`; what is too long of them is
        cut or left out. on_sent: called when the hub has it; never for one that had no room, or when the agent ended before."""
        text = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
        log.log(_LEVELS[severity], "%s", _one_line(text))
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped += 1
        now = rfc3339(datetime.now(timezone.utc))
        small = {name: value for name, value in data.items() if len(str(value)) <= MAX_VALUE}
        event = wire.Event(kind=kind[:MAX_KIND], text=text, data=small, id=secrets.token_hex(8), time=now)
        self._waiting.append((severity, event, on_sent))
        self._wake.set()

    def link_came(self) -> None:
        """The hub can be reached (again)."""
        self._wake.set()

    async def run(self, client: Client) -> None:
        """Send for ever, in order; one that was not acknowledged is sent again."""
        pauses = delays(*RETRY_SECONDS)
        while True:
            good = await self._send_all(client)
            if good:
                self.on_empty()
            pauses = delays(*RETRY_SECONDS) if good else pauses
            await woken(self._wake, None if good else next(pauses))

    async def _send_all(self, client: Client) -> bool:
        while self._waiting:
            severity, event, on_sent = first = self._waiting[0]
            try:
                await published(client, subjects.event(self._id, severity), wire.encode(event))
                if on_sent:
                    on_sent()
            except EdgeError as error:
                if not self._is_given_up(error):
                    return False
                log.warning("the hub does not take the event %s: %s", event.kind, error)
                self.dropped += 1
            self._refused = 0
            if self._waiting and self._waiting[0] is first:
                self._waiting.popleft()
        return True

    def _is_given_up(self, error: EdgeError) -> bool:
        """Whether the first event was refused once too often; who can't be reached has refused nothing."""
        self._refused += isinstance(error, Failed)
        return self._refused >= MAX_REFUSED


def _one_line(text: str) -> str:
    """Without control characters: it may quote what others wrote, and must neither forge a line of the log nor move a cursor."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
