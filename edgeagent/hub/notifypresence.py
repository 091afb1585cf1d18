"""Follows presence, and tells of devices that were lost or are back as events of the hub, one for many.

Events are kept, so whoever is to be told of them is told, also later. Several instances follow the same presence and would say the same
at once: before one speaks it reads what was said, and its event is fenced by the last one, so it says only what nobody has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import datetime, timezone
from typing import Any

from edgeagent import subjects, wire
from edgeagent.direct import Stored, get_last, in_our_words, read_all, republished
from edgeagent.errors import EdgeError
from edgeagent.fenced import stored_if
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.exportsettings import NotifyOptions
from edgeagent.hub.notifylost import LostDevices, named, sentence
from edgeagent.hub.notifyrules import BACK, LOST, LOST_SEVERITY
from edgeagent.hub.streams import PRESENCE_BUCKET
from edgeagent.link import Client
from edgeagent.runtime import jittered, woken
from edgeagent.times import parse_rfc3339, rfc3339

__all__ = ["PresenceTeller"]

log = logging.getLogger("edgeagent.hub")

STREAM = "EDGE_EVENTS"
#: How often all presences are read again, in seconds: that heals what was not heard.
READ_SECONDS = 120.0
#: Who went longer ago than this when it begins was told of, or will never be, in seconds.
TOO_LONG_AGO_SECONDS = 86_400.0
#: Pause before it is tried again what failed, in seconds.
RETRY_SECONDS = 1.0
#: How often an event is tried again because somebody else said something meanwhile.
TRIES = 8
_SEVERITY = {LOST: LOST_SEVERITY, BACK: "info"}


class PresenceTeller:
    """hub: a connection to the account HUB."""

    def __init__(self, hub: Client, options: NotifyOptions) -> None:
        self._hub = hub
        self._lost = LostDevices(offline_seconds=options.offline_seconds, gather_seconds=options.gather_seconds)
        self._wake = asyncio.Event()
        self._heard_of = 0
        self._read_at = 0.0
        self._newest: dict[str, datetime] = {}

    async def start(self) -> None:
        """Listen. Raises EdgeError."""
        with in_our_words("follow who is online"):
            await self._hub.subscribe(subjects.live("*", "presence"), cb=self._heard)

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                if self._read_at <= time.monotonic():
                    await self._read()
                    self._read_at = time.monotonic() + jittered(READ_SECONDS)
                await self._tell_all()
                pause = self._lost.next_due(time.time())
            except EdgeError as error:
                log.debug("%s", error)
                pause = RETRY_SECONDS
            until_read = max(0.0, self._read_at - time.monotonic())
            await woken(self._wake, until_read if pause is None else min(max(pause, 0.05), until_read))

    async def _read(self) -> None:
        """What was told, then who is there."""
        await self._catch_up()
        known = set()
        async for stored in read_all(self._hub, f"KV_{PRESENCE_BUCKET}", subjects.kv(PRESENCE_BUCKET, ">"), prefix=PREFIX):
            device = stored.subject.removeprefix(subjects.kv(PRESENCE_BUCKET, ""))
            known.add(device)
            self._take(device, stored)
        self._lost.forgotten(known)
        self._newest = {device: moment for device, moment in self._newest.items() if device in known}

    async def _heard(self, message: Any) -> None:
        device, stored = subjects.device_of(message.subject), republished(message)
        if stored is not None:
            self._take(device, stored)
            self._wake.set()

    def _take(self, device: str, stored: Stored) -> None:
        """A page that was read may be older than what was heard meanwhile."""
        if device in self._newest and stored.time < self._newest[device]:
            return
        self._newest[device] = stored.time
        now = time.time()
        try:
            presence = wire.decode(stored.data, wire.Presence)
            since = parse_rfc3339(presence.since).timestamp()
        except (EdgeError, ValueError, OverflowError):
            return
        if presence.online or since > now - TOO_LONG_AGO_SECONDS:
            self._lost.seen(device, online=presence.online, since=since, now=now)

    async def _tell_all(self) -> None:
        if self._lost.lost(time.time()):
            await self._tell(LOST)
        if self._lost.back(time.time()):
            await self._tell(BACK)

    async def _tell(self, kind: str) -> None:
        """Say what nobody has said yet."""
        subject = subjects.event(subjects.HUB, _SEVERITY[kind])
        for _ in range(TRIES):
            last = await get_last(self._hub, STREAM, subject, prefix=PREFIX)
            await self._catch_up()
            at = rfc3339(datetime.now(timezone.utc))
            devices = (self._lost.lost if kind == LOST else self._lost.back)(parse_rfc3339(at).timestamp())
            if not devices:
                return
            text = sentence(devices, lost=kind == LOST)
            event = wire.Event(kind=kind, text=text, data={"count": len(devices), "devices": named(devices), "at": at})
            what = "store an event of the hub"
            data, sequence = wire.encode(event), last.sequence if last else 0
            if await stored_if(self._hub, subject, data, sequence, stream=STREAM, prefix=PREFIX, what=what) is not None:
                log.warning("%s", text) if kind == LOST else log.info("%s", text)
                self._lost.told(devices, lost=kind == LOST)
                return

    async def _catch_up(self) -> None:
        """Read what was told since we looked last."""
        wanted = subjects.event(subjects.HUB, "*")
        async for stored in read_all(self._hub, STREAM, wanted, prefix=PREFIX, first=self._heard_of + 1):
            self._heard_of = stored.sequence
            try:
                event = wire.decode(stored.data, wire.Event)
            except EdgeError:
                continue
            if event.kind in (LOST, BACK):
                self._said(event)

    def _said(self, event: wire.Event) -> None:
        """What an instance of the hub's services told."""
        devices, count, lost = event.data.get("devices", []), event.data.get("count", 0), event.kind == LOST
        found = [name for name in devices if isinstance(name, str)] if isinstance(devices, list) else []
        self._lost.told(found, lost=lost)
        if isinstance(count, int) and count > len(found):
            with contextlib.suppress(ValueError, OverflowError):  # of an older hub, which did not say when
                self._lost.all_told(parse_rfc3339(str(event.data.get("at"))).timestamp(), lost=lost)
