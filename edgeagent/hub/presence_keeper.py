"""Keeps KV ``edge_presence`` true: the shell around :mod:`edgeagent.hub.presence`. Any number of instances may run."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import nats.errors

from edgeagent import subjects, wire
from edgeagent.direct import get_last, hub_time, in_our_words, read_all
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.hub import presence
from edgeagent.link import Client, request
from edgeagent.runtime import jittered
from edgeagent.times import rfc3339

__all__ = ["PresenceKeeper"]

log = logging.getLogger(__name__)

BUCKET = "edge_presence"
#: The JetStream API inside the account HUB.
PREFIX = "$JS.API"
#: How often to compare presence with the servers' own lists, in seconds: events are not kept for who was not listening.
RECONCILE_SECONDS = 60.0
#: How long the first server may take to list its leafs, in seconds: with 5,000 of them it is a large answer.
LIST_SECONDS = 10.0
#: Servers of a cluster answer one by one; this long after the last one the list counts as whole.
STALL_SECONDS = 0.3
#: How long after a leaf came to look whether it is an honest one, in seconds.
GUARD_SECONDS = 0.2
#: Events waiting to be written; when more come at once, the lists are read again instead.
QUEUE = 20_000
WRONG_LAST_SEQUENCE = 10071


class PresenceKeeper:
    """Writes presence. system: a connection to SYS. hub: one to HUB. fleet: the public key of the account FLEET."""

    def __init__(self, system: Client, hub: Client, fleet: str) -> None:
        self._system, self._hub, self._fleet = system, hub, fleet
        self._events: asyncio.Queue[presence.Event] = asyncio.Queue(QUEUE)
        self._look, self._came = asyncio.Event(), asyncio.Event()
        self._kept: dict[str, tuple[wire.Presence, int]] = {}

    async def start(self) -> None:
        """Listen, then put right what happened before."""
        for event in ("CONNECT", "DISCONNECT"):
            await self._system.subscribe(f"$SYS.ACCOUNT.{self._fleet}.{event}", cb=self._heard)
        await self._load()
        await self.reconcile()

    async def write_events(self) -> None:
        """Write what happens, for ever."""
        while True:
            event = await self._events.get()
            try:
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
                await asyncio.sleep(1)  # something is wrong just now: give it a moment
            self._look.clear()
            try:
                await self._load()
                await self.reconcile()
            except EdgeError as error:
                log.warning("%s", error)

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

    async def end_tampered(self) -> list[str]:
        """Kick every leaf that claims to be our hub, whenever it came; their connections."""
        tampered = [leaf for leaf in await self._leafs(subscriptions=False) if leaf.is_hub]
        for leaf in tampered:
            owner = next((device for device, (kept, _) in self._kept.items() if kept.connection == leaf.connection), "unknown")
            log.error("ended a tampered leaf of the device %s at %s: it claimed to be the hub", owner, leaf.address)
            server, _, client = leaf.connection.rpartition(":")
            kick = json.dumps({"cid": int(client)}).encode()
            # A request, not a publish: the server does nothing for an order without a reply subject.
            await request(self._system, f"$SYS.REQ.SERVER.{server}.KICK", kick, what="end a tampered leaf")
        return [leaf.connection for leaf in tampered]

    def look_again(self) -> None:
        """Reconcile soon, and look for tampered leafs: a connection of ours was away, so events may have been missed."""
        self._look.set()
        self._came.set()

    async def reconcile(self) -> None:
        """Write what the servers' lists say. Raises EdgeError when they, or the store, do not answer."""
        time = rfc3339(await hub_time(self._hub, prefix=PREFIX))  # before the lists: events that come meanwhile are newer
        leafs = await self._leafs(subscriptions=False)
        if any(leaf.is_hub for leaf in leafs):
            self._came.set()  # it came while we did not listen: the guard's turn
        known = {kept.connection for kept, _ in self._kept.values() if kept.online}
        if any(leaf.connection not in known for leaf in leafs):
            leafs = await self._leafs(subscriptions=True)
        now = {device: kept for device, (kept, _) in self._kept.items()}
        for device, changed in presence.reconciled(now, leafs, time).items():
            log.info("%s is %s (found by looking)", device, "online" if changed.online else "offline")
            await self._put(device, changed)

    async def _heard(self, message: Any) -> None:
        event = presence.read_event(message.subject, message.data)
        if event is None:
            return
        if event.online:
            self._came.set()
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            self._look.set()

    async def _apply(self, event: presence.Event) -> None:
        """Write the event's effect; when another instance wrote first, look at what it wrote."""
        for _ in range(5):
            kept, _sequence = self._kept.get(event.device, (None, 0))
            changed = (presence.connected if event.online else presence.disconnected)(kept, event)
            if changed is None:
                if event.online and kept and kept.connection != event.connection:
                    self._look.set()
                return
            if await self._put(event.device, changed):
                log.info(
                    "%s is %s%s",
                    event.device,
                    "online" if event.online else "offline",
                    f" ({event.reason})" if event.reason else "",
                )
                return
        self._look.set()

    async def _put(self, device: str, value: wire.Presence) -> bool:
        """Compare-and-set; False, with the newer value read, when somebody else was first."""
        subject = subjects.kv(BUCKET, device)
        expected = self._kept[device][1] if device in self._kept else 0
        answer = await request(
            self._hub,
            subject,
            wire.encode(value),
            what=f"store the presence of {device}",
            headers={"Nats-Expected-Last-Subject-Sequence": str(expected)},
        )
        ack = json.loads(answer.data)
        if "error" not in ack:
            self._kept[device] = value, int(ack["seq"])
            return True
        if ack["error"].get("err_code") != WRONG_LAST_SEQUENCE:
            raise Failed(f"store the presence of {device}", str(ack["error"].get("description")))
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

    async def _leafs(self, *, subscriptions: bool) -> list[presence.Leaf]:
        """Every server's leaf nodes of the account FLEET. Raises Unreachable when no server answers: that is no empty list."""
        with in_our_words("list the leaf nodes"):
            return await self._listed(subscriptions=subscriptions)

    async def _listed(self, *, subscriptions: bool) -> list[presence.Leaf]:
        inbox = self._system.new_inbox()
        answers = await self._system.subscribe(inbox)
        body = json.dumps({"account": self._fleet, "subscriptions": subscriptions}).encode()
        leafs: list[presence.Leaf] = []
        timeout = LIST_SECONDS
        servers = set()
        try:
            await self._system.publish("$SYS.REQ.SERVER.PING.LEAFZ", body, reply=inbox)
            while True:
                message = await answers.next_msg(timeout=timeout)
                if not message.data:  # the server's word that nobody listens there
                    break
                server, found = presence.read_leafz(message.data)
                servers.add(server)
                leafs += found
                timeout = STALL_SECONDS
        except nats.errors.TimeoutError:
            pass
        finally:
            await answers.unsubscribe()
        if not servers:
            raise Unreachable("list the leaf nodes", "no server answered")
        return leafs
