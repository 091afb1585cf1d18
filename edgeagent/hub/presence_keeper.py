"""Keeps KV ``edge_presence`` true: the shell around :mod:`edgeagent.hub.presence`. Any number of instances may run."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from edgeagent import subjects, wire
from edgeagent.direct import get_last, hub_time, in_our_words, read_all
from edgeagent.errors import EdgeError
from edgeagent.fenced import stored_if
from edgeagent.hub import events, leafs, presence
from edgeagent.hub.evictions import Evictions, is_eviction
from edgeagent.hub.turns import Turns
from edgeagent.hub.visitors import Visitors
from edgeagent.link import Client
from edgeagent.ratelimit import RateLimits
from edgeagent.runtime import jittered
from edgeagent.times import rfc3339

__all__ = ["PresenceKeeper"]

log = logging.getLogger(__name__)

BUCKET = "edge_presence"
#: The JetStream API inside the account HUB.
PREFIX = "$JS.API"
#: How often to compare presence with the servers' own lists, in seconds: events are not kept for who was not listening.
RECONCILE_SECONDS = 60.0
#: How long it waits before it looks because something is wrong, in seconds: between these, by chance.
MOMENT_SECONDS = (0.5, 2.0)
#: How long after a leaf came to look whether it is an honest one, in seconds.
GUARD_SECONDS = 0.2
#: At least so long from look to look, in seconds: each costs the servers a list of all their leafs.
GUARD_PAUSE_SECONDS = 1.0
#: What of one device is written and logged, a second and at once. One that comes and goes more often is put right by looking.
EVENTS_PER_SECOND, EVENTS_AT_ONCE = 1.0, 20
#: Devices of which that is counted.
COUNTED = 20_000
#: Links that are to be ended.
KICKS = 10_000
#: Events waiting to be written; when more come at once, the lists are read again instead.
QUEUE = 20_000


#: Told the id of a device whose leaf was tampered with.
OnTampered = Callable[[str], Awaitable[None]]

TAKEN_AWAY = "another leaf takes the link of {} away again and again: its card was copied, or somebody has its credentials"


class PresenceKeeper:
    """Writes presence. system: a connection to SYS. hub: one to HUB. fleet: the public key of the account FLEET.

    provision: that of PROVISION, where devices come to claim and renew; empty: nobody does.
    beside: the name of the server whose devices it writes at once, for other instances write the others'; empty: it is beside none, and writes
    what nobody else did; None: it is the only one.
    on_tampered: called with each device whose leaf claimed to be the hub. When it raises EdgeError, it is called
    again when that leaf is back.
    """

    def __init__(
        self,
        system: Client,
        hub: Client,
        fleet: str,
        *,
        provision: str = "",
        beside: str | None = None,
        on_tampered: OnTampered | None = None,
    ) -> None:
        self._system, self._hub, self._fleet, self._provision = system, hub, fleet, provision
        self._on_tampered = on_tampered
        self._owners: dict[str, str] = {}
        self._events = Turns(beside, QUEUE)
        self._look, self._came = asyncio.Event(), asyncio.Event()
        self._kept: dict[str, tuple[wire.Presence, int]] = {}
        self._rates = RateLimits(EVENTS_PER_SECOND, EVENTS_AT_ONCE, shared=COUNTED, remembered=COUNTED)
        self._visitors, self._kicks = Visitors(), asyncio.Queue[str](KICKS)
        self._evictions = Evictions()
        self._telling = RateLimits(1 / 60, 1, shared=10, remembered=1000)

    async def start(self) -> None:
        """Listen, then put right what happened before. Raises EdgeError."""
        with in_our_words("hear who comes and goes"):
            await self._listen()
        await self._load()
        await self.reconcile()

    async def _listen(self) -> None:
        for event in ("CONNECT", "DISCONNECT"):
            await self._system.subscribe(f"$SYS.ACCOUNT.{self._fleet}.{event}", cb=self._heard)
        if self._provision:
            await self._system.subscribe(f"$SYS.ACCOUNT.{self._provision}.CONNECT", cb=self._visitor_came)
            await self._system.subscribe(f"$SYS.ACCOUNT.{self._provision}.DISCONNECT", cb=self._visitor_went)

    async def write_events(self) -> None:
        """Write what happens, for ever."""
        while True:
            event = await self._events.get()
            try:
                if not self._events.is_ours(event):
                    await self._read(event.device)
                await self._apply(event)
            except EdgeError as error:
                log.warning("%s", error)
                self._look.set()

    async def reconciliations(self) -> None:
        """Compare with the servers' lists, for ever."""
        while True:
            try:
                await asyncio.wait_for(self._look.wait(), jittered(RECONCILE_SECONDS))
            except asyncio.TimeoutError:
                pass
            else:
                await asyncio.sleep(random.uniform(*MOMENT_SECONDS))  # something is wrong just now, and others look too
            self._look.clear()
            try:
                await self._load()
                await self.reconcile()
                await self._look_at_visitors()
            except EdgeError as error:
                log.warning("%s", error)

    async def end_links(self) -> None:
        """End the links that are too many or belong to one that floods, for ever."""
        while True:
            connection = await self._kicks.get()
            try:
                await leafs.kick(self._system, presence.Leaf(connection=connection), what="end a link")
            except EdgeError as error:
                log.warning("%s", error)

    def flooded(self, device: str) -> None:
        """End the links of a device that asks and asks although nobody answers it."""
        own = [connection for connection, owner in self._owners.items() if owner == device]
        self._end([*own, *self._visitors.of(device)])

    def _end(self, connections: list[str]) -> None:
        for connection in connections:
            if not self._kicks.full():
                self._kicks.put_nowait(connection)

    async def guard(self) -> None:
        """End links of tampered leafs, for ever.

        A leaf that says in its CONNECT that it is our hub may publish on subjects with literal wildcards (nats-server 2.15.1), and so
        read the newest report, command or config of other devices. No permission prevents it. LEAFZ marks such a link
        (``is_spoke``: our end is the spoke), and no honest leaf makes one.
        """
        while True:
            await self._came.wait()
            await asyncio.sleep(GUARD_SECONDS)  # many come at once after a restart of the hub: one look for all of them
            self._came.clear()
            try:
                await self.end_tampered()
            except EdgeError as error:
                log.warning("%s", error)
                self._came.set()
            await asyncio.sleep(GUARD_PAUSE_SECONDS)

    async def end_tampered(self) -> list[str]:
        """Kick every leaf that claims to be our hub, whenever it came, and report its device; their connections."""
        found = presence.owned(await leafs.listed(self._system), self._owners)
        tampered = [leaf for leaf in found if leaf.is_hub]
        for leaf in tampered:
            owner = leaf.device or self._device_of(leaf.connection)
            log.error("ended a tampered leaf of %s at %s: it claimed to be the hub", owner or "an unknown device", leaf.address)
            await leafs.kick(self._system, leaf, what="end a tampered leaf")
            # One that is not known will be: it links again, and is seen to come.
            if owner and self._on_tampered:
                await self._on_tampered(owner)
        return [leaf.connection for leaf in tampered]

    def _device_of(self, connection: str) -> str:
        return next((device for device, (kept, _) in self._kept.items() if kept.connection == connection), "")

    def look_again(self) -> None:
        """Reconcile soon, and look for tampered leafs: a connection of ours was away, so events may have been missed."""
        self._look.set()
        self._came.set()

    async def reconcile(self) -> None:
        """Write what the servers' lists say. Raises EdgeError when they, or the store, do not answer."""
        asked = rfc3339(await hub_time(self._hub, prefix=PREFIX))  # before the lists: events that come meanwhile are newer
        listed = await self._listed()
        if any(leaf.is_hub for leaf in listed):
            self._came.set()  # it came while we did not listen: the guard's turn
        now = {device: kept for device, (kept, _) in self._kept.items()}
        for device, changed in presence.reconciled(now, listed, asked).items():
            await self._correct(device, now.get(device), changed)

    async def _listed(self) -> list[presence.Leaf]:
        """The devices' leafs; with their subscriptions only if some of them are not known otherwise, for these lists are long."""
        heard = set(self._owners)
        found = presence.owned(await leafs.listed(self._system, self._fleet), self._owners)
        for ended in heard - {leaf.connection for leaf in found}:
            self._owners.pop(ended, None)
        known = {kept.connection for kept, _ in self._kept.values() if kept.online}
        if any(leaf.device is None and leaf.connection not in known for leaf in found):
            found = presence.owned(await leafs.listed(self._system, self._fleet, subscriptions=True), self._owners)
        self._owners.update({leaf.connection: leaf.device for leaf in found if leaf.device})
        return found

    async def _correct(self, device: str, before: wire.Presence | None, changed: wire.Presence) -> None:
        """Write what looking has found; of several instances that found it the one that wrote it tells."""
        if before is None or before.online != changed.online:
            log.info("%s is %s (found by looking)", device, "online" if changed.online else "offline")
        if await self._put(device, changed) and changed.twins and not (before and before.twins):
            names = ", ".join(changed.twins)
            text = f"{device} is connected several times at once, so its card was cloned; the others call themselves {names}"
            await events.tell(self._hub, "error", "device.twins", text, id=device, twins=changed.twins)

    async def _heard(self, message: Any) -> None:
        event = presence.read_event(message.subject, message.data)
        if event is None:
            return
        if event.online:
            self._came.set()
            self._owners[event.connection] = event.device
        else:
            self._owners.pop(event.connection, None)
        if not self._rates.allow(event.device):
            return
        if not self._events.put(event):
            self._look.set()

    async def _visitor_came(self, message: Any) -> None:
        self._came.set()
        visitor = presence.read_visitor(message.data)
        if visitor is None:
            return
        ended = self._visitors.came(visitor, time.monotonic())
        if ended and self._telling.allow(visitor.user):
            log.warning("%s is linked too often to claim or renew: its oldest links are ended", visitor.name)
        self._end(ended)

    async def _visitor_went(self, message: Any) -> None:
        visitor = presence.read_visitor(message.data)
        if visitor is not None:
            self._visitors.gone(visitor.connection)

    async def _look_at_visitors(self) -> None:
        """End those that stay too long."""
        if self._provision:
            listed = {leaf.connection for leaf in await leafs.listed(self._system, self._provision)}
            self._end(self._visitors.looked(listed, time.monotonic()))

    async def _apply(self, event: presence.Event) -> None:
        """Write the event's effect; when another instance wrote first, look at what it wrote."""
        if is_eviction(event.reason) and self._evictions.heard(event.device, time.monotonic()):
            await events.tell(self._hub, "error", "device.twins", TAKEN_AWAY.format(event.device), id=event.device, twins=[])
        for _ in range(5):
            kept, _sequence = self._kept.get(event.device, (None, 0))
            if kept and kept.twins:
                self._look.set()  # one of them came or went: which ones are left only looking can tell
            changed = (presence.connected if event.online else presence.disconnected)(kept, event)
            if changed is None:
                if event.online and kept and kept.connection != event.connection:
                    self._look.set()
                return
            if await self._put(event.device, changed):
                if event.online and kept and kept.online:
                    self._look.set()  # the other link may be dead, or a twin's
                why = f" ({event.reason})" if event.reason else ""
                log.info("%s is %s%s", event.device, "online" if event.online else "offline", why)
                return
        self._look.set()

    async def _put(self, device: str, value: wire.Presence) -> bool:
        """Compare-and-set; False, with the newer value read, when somebody else was first."""
        what, subject = f"store the presence of {device}", subjects.kv(BUCKET, device)
        expected = self._kept[device][1] if device in self._kept else 0
        stream, data = f"KV_{BUCKET}", wire.encode(value)
        sequence = await stored_if(self._hub, subject, data, expected, stream=stream, prefix=PREFIX, what=what)
        if sequence is not None:
            self._kept[device] = value, sequence
            return True
        await self._read(device)
        return False

    async def _read(self, device: str) -> None:
        stored = await get_last(self._hub, f"KV_{BUCKET}", subjects.kv(BUCKET, device), prefix=PREFIX)
        if stored:
            self._kept[device] = wire.decode(stored.data, wire.Presence), stored.sequence
        else:
            self._kept.pop(device, None)  # the store was lost, or somebody deleted it

    async def _load(self) -> None:
        """Read the whole bucket again."""
        self._kept = {
            stored.subject.split(".")[2]: (wire.decode(stored.data, wire.Presence), stored.sequence)
            async for stored in read_all(self._hub, f"KV_{BUCKET}", subjects.kv(BUCKET, ">"), prefix=PREFIX)
        }
