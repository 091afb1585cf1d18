"""Events of the hub itself that must reach somebody also while the hub's store takes nothing.

They are stored among those of the devices, as if of a device called ``hub``. While that fails they are shown live, to whoever follows the
events, and told to webhooks at once; they are kept, and stored when the store takes them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

import msgspec
import nats.errors

from edgeagent import subjects, wire
from edgeagent.backoff import delays
from edgeagent.direct import NOT_STORED, Stored, get_last
from edgeagent.errors import Closed, EdgeError, Failed
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.notifyrules import TOLD
from edgeagent.link import Client
from edgeagent.publish import TooLarge, published, published_if
from edgeagent.runtime import woken
from edgeagent.times import parse_rfc3339, rfc3339

__all__ = ["STREAM", "OwnEvents"]

log = logging.getLogger("edgeagent.hub")

STREAM = "EDGE_EVENTS"
#: How long the store may take, in seconds: one that is full answers nothing.
STORE_SECONDS = 2.0
#: Bounds of the pause before it is tried again, in seconds.
RETRY_SECONDS = (0.5, 15.0)
#: Events that wait; when more come, the oldest go.
MAX_WAITING = 200
#: Of one event; the stream takes 16 KiB.
MAX_TEXT, MAX_DATA_BYTES = 1000, 8 << 10
#: Events of one kind that instances tell within so many seconds are one.
SAME_SECONDS = 10.0
#: How often an event is tried again because somebody else stored one meanwhile.
TRIES = 8

_WHAT = "store an event of the hub"

#: Tells people of an event that is not stored yet: ``(severity, event)``; the names of those who took it. Must not raise.
AtOnce = Callable[[str, wire.Event], Awaitable[list[str]]]


class _Waiting:
    """An event that is to be stored. once: unless another instance stored the same. shown: it was told without the store; tried: it may
    be there already."""

    def __init__(self, severity: str, event: wire.Event, *, once: bool) -> None:
        self.severity, self.event, self.once = severity, event, once
        self.shown = self.tried = False

    @property
    def subject(self) -> str:
        return subjects.event(subjects.HUB, self.severity)


class OwnEvents:
    """hub: a connection to the account HUB. dropped: events that nobody will see, but in the log. at_once: who is told of what cannot be
    stored now; None: nobody is."""

    def __init__(self, hub: Client, at_once: AtOnce | None = None) -> None:
        self._hub, self.at_once = hub, at_once
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self.dropped = 0

    def tell(self, severity: str, kind: str, text: str, *, once: bool = False, **fields: Any) -> None:
        """Log the event now and see to the rest in :meth:`run`: never waits, never raises.

        severity: one of :data:`edgeagent.hub.streams.SEVERITIES`. kind, text: as in :class:`edgeagent.wire.Event`. fields: its data: JSON,
        and nothing secret. once: other instances of the services see the same at the same time: one of them tells it.
        """
        log.log(logging.getLevelName(severity.upper()), "%s", text)
        now = rfc3339(datetime.now(timezone.utc))
        event = wire.Event(kind=kind, text=text[:MAX_TEXT], data=_bounded(fields), id=secrets.token_hex(8), time=now)
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(_Waiting(severity, event, once=once))
        self._wake.set()

    async def run(self) -> None:
        """Store what is told, for ever; until the connection has ended for good."""
        pauses = delays(*RETRY_SECONDS, jitter=0.5)
        with contextlib.suppress(Closed):
            while True:
                if not self._waiting:
                    await woken(self._wake, None)
                elif await self._stored(self._waiting[0]):
                    pauses = delays(*RETRY_SECONDS, jitter=0.5)
                else:
                    await self._without_store(time.monotonic() + next(pauses))

    async def _stored(self, first: _Waiting) -> bool:
        """Whether it is done with. Raises Closed."""
        try:
            if first.once or first.tried:
                await self._store_if_new(first)
            else:
                first.tried = True
                await published(self._hub, first.subject, wire.encode(first.event), what=_WHAT, timeout=STORE_SECONDS)
        except Closed:
            raise
        except TooLarge as error:
            log.warning("%s", error)
            self.dropped += 1
        except EdgeError as error:
            log.debug("%s", error)
            return False
        if self._waiting and self._waiting[0] is first:  # else it had to make room meanwhile
            self._waiting.popleft()
        return True

    async def _store_if_new(self, first: _Waiting) -> None:
        """Unless it is there: another instance stored the same just now, or only the store's word was lost. Raises EdgeError."""
        data = wire.encode(first.event)
        for _ in range(TRIES):
            last = await get_last(self._hub, STREAM, first.subject, prefix=PREFIX, timeout=STORE_SECONDS)
            if last is not None and _is_same(first, last):
                return
            sequence = last.sequence if last else 0
            if await published_if(self._hub, first.subject, data, sequence, what=_WHAT, timeout=STORE_SECONDS) is not None:
                return
        raise Failed(_WHAT, "others store too many at once")

    async def _without_store(self, until: float) -> None:
        """Until then (monotonic, seconds) show what is new without it."""
        while (left := until - time.monotonic()) > 0:
            for waiting in [waiting for waiting in self._waiting if not waiting.shown]:
                await self._show(waiting)
            await woken(self._wake, left)

    async def _show(self, waiting: _Waiting) -> None:
        waiting.shown = True
        headers = {NOT_STORED: waiting.event.time}
        live = subjects.live(subjects.HUB, f"event.{waiting.severity}")
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._hub.publish(live, wire.encode(waiting.event), headers=headers)
        if self.at_once is not None and (names := await self.at_once(waiting.severity, waiting.event)):
            data = {**waiting.event.data, TOLD: names}
            waiting.event = msgspec.structs.replace(waiting.event, data=data)


def _is_same(waiting: _Waiting, last: Stored) -> bool:
    try:
        stored = wire.decode(last.data, wire.Event)
        apart = abs((parse_rfc3339(stored.time) - parse_rfc3339(waiting.event.time)).total_seconds())
    except (EdgeError, ValueError, OverflowError):
        return False
    return stored.id == waiting.event.id or (waiting.once and stored.kind == waiting.event.kind and apart < SAME_SECONDS)


def _bounded(fields: dict[str, Any]) -> dict[str, Any]:
    """Nothing of what is no JSON, or too much of it: the text says the same."""
    try:
        return fields if len(msgspec.json.encode(fields)) <= MAX_DATA_BYTES else {}
    except (TypeError, ValueError, RecursionError):
        return {}
