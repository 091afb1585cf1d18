"""Takes devices into the register that the hub let in and then forgot: the shell around :mod:`edgeagent.hub.adopting`.

Any number of instances may run: what one has written the next finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from edgeagent import wire
from edgeagent.direct import in_our_words
from edgeagent.errors import EdgeError
from edgeagent.hub import events, leafs, register
from edgeagent.hub.adopting import Shown, adopted, is_refused, is_replaced, read_shown
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.claiming import Revoke
from edgeagent.hub.presence import Leaf
from edgeagent.hub.revocations import Revocation
from edgeagent.hub.streams import PRESENCE_BUCKET, REVOCATIONS_BUCKET
from edgeagent.link import Client
from edgeagent.ratelimit import RateLimits
from edgeagent.runtime import jittered
from edgeagent.trust import jwt

__all__ = ["Adoption"]

log = logging.getLogger("edgeagent.hub")

#: How often to look whether somebody is online whom the register does not know, in seconds: it is read as a whole.
LOOK_SECONDS = 600.0
#: The pause after something went wrong, in seconds.
RETRY_SECONDS = 5.0
#: One about which the store did not answer is judged again after so many seconds, so often.
AGAIN_SECONDS, TRIES = 60.0, 5
#: Devices that wait to be looked at; of more a later look finds those that are not known at all.
QUEUE = 20_000
#: Links that are ended at once so that they are made anew before our eyes, and the pause before the next ones, in seconds.
BATCH, BATCH_SECONDS = 50, 0.5

#: Refuse what a record says is refused, of every key in it.
Refuse = Callable[[wire.DeviceRecord], Awaitable[None]]


class Adoption:
    """system, hub: connections to SYS and HUB. fleet: the public key of the account FLEET. issuer: who signs devices.

    revoke: keeps a key out, and returns when it is. refuse: does what the record says of keys that were not in it before. everybody: look at every device that is linked already, once: the hub was restored.
    looked: called when that is done. clock: Unix seconds.
    """

    def __init__(
        self,
        system: Client,
        hub: Client,
        *,
        fleet: str,
        issuer: str,
        revoke: Revoke,
        refuse: Refuse,
        everybody: bool = False,
        looked: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._system, self._hub, self._fleet, self._issuer = system, hub, fleet, issuer
        self._revoke, self._refuse = revoke, refuse
        self._everybody, self._looked, self._clock = everybody, looked, clock
        self._came: asyncio.Queue[Shown] = asyncio.Queue(QUEUE)
        #: Device -> key and time of the newest JWT of which nothing is to be done any more.
        self._known: dict[str, tuple[str, int]] = {}
        self._ended = RateLimits(1 / 3600, 1, shared=QUEUE, remembered=QUEUE)
        self._retried = RateLimits(1 / 3600, TRIES, shared=QUEUE, remembered=QUEUE)

    async def start(self) -> None:
        """Listen from now on. Raises EdgeError."""
        with in_our_words("hear which devices come"):
            await self._system.subscribe(f"$SYS.ACCOUNT.{self._fleet}.CONNECT", cb=self._heard)

    async def run(self) -> None:
        """Take in whoever comes, for ever."""
        while True:
            shown = await self._came.get()
            try:
                await self._judge(shown)
            except EdgeError as error:  # while nobody knows of its key, no order reaches it
                log.warning("%s", error)
                if self._retried.allow(shown.device):
                    asyncio.get_running_loop().call_later(jittered(AGAIN_SECONDS), self._put, shown)

    def _put(self, shown: Shown) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._came.put_nowait(shown)

    async def looks(self) -> None:
        """Look for strangers among those that came before us, for ever."""
        while True:
            pause = LOOK_SECONDS
            try:
                await self.look()
            except EdgeError as error:
                log.warning("%s", error)
                pause = RETRY_SECONDS
            await asyncio.sleep(jittered(pause))

    async def look(self) -> None:
        """Have links made anew before our eyes: only their beginning tells who they are. Raises EdgeError."""
        registered = await register.every(self._hub)
        self._known.update({name: (record.key, record.issued_at) for name, record in registered.items()})
        if self._everybody:
            await self._end([leaf.connection for leaf in await leafs.listed(self._system, self._fleet)])
            self._everybody = False
            if self._looked:
                self._looked()
            return
        online = await Bucket(self._hub, PRESENCE_BUCKET, wire.Presence).all()
        strangers = [(name, presence.connection) for name, (presence, _) in online.items() if presence.online]
        await self._end([link for name, link in strangers if name not in registered and self._ended.allow(name)])

    async def _end(self, connections: list[str]) -> None:
        for start in range(0, len(connections), BATCH):
            for connection in connections[start : start + BATCH]:
                with contextlib.suppress(EdgeError):  # it may have ended meanwhile
                    await leafs.kick(self._system, Leaf(connection=connection), what="make a link anew")
            await asyncio.sleep(jittered(BATCH_SECONDS))

    async def _heard(self, message: Any) -> None:
        shown = read_shown(message.data)
        if shown and self._known.get(shown.device) != (shown.key, shown.issued_at):
            self._put(shown)

    async def _judge(self, shown: Shown) -> None:
        found = await register.find(self._hub, shown.device)
        record, sequence = found or (None, 0)
        wanted = adopted(record, shown, self._clock())
        if record is not None and is_replaced(record, shown) and await self._may(shown):
            await self._revoke(shown.key, record)
            log.warning("%s is linked with the key of a board whose place another one took; it is put out", shown.device)
        if wanted is not None and await self._may(shown):
            for key in register.keys_of(record).keys() - register.keys_of(wanted).keys() if record else ():
                await self._revoke(key, record)  # type: ignore[arg-type]  # there is one
            what = f"take {shown.device} in again"
            if not await register.bucket(self._hub).put(shown.device, wanted, sequence, what=what):
                self._put(shown)  # somebody else was first: it is judged by what he wrote
                return
            if is_refused(wanted, shown):
                await self._refuse(wanted)
            await self._tell(shown, wanted, is_new=record is None)
        if len(self._known) > QUEUE:
            self._known.clear()
        self._known[shown.device] = shown.key, shown.issued_at

    async def _may(self, shown: Shown) -> bool:
        """Whether it was let in by this hub, and nobody decided since that it stays out: it may just be forgotten."""
        try:
            jwt.decode(shown.token, issuers=[self._issuer])
        except EdgeError as error:
            log.warning("%s is linked and not registered, and stays so: %s", shown.device, error)
            return False
        found = await Bucket(self._hub, REVOCATIONS_BUCKET, Revocation).find(f"FLEET.{shown.key}")
        return found is None or found[0].until < shown.issued_at

    async def _tell(self, shown: Shown, record: wire.DeviceRecord, *, is_new: bool) -> None:
        what = "was not registered" if is_new else "had newer credentials than the register knew of"
        then = "it stays revoked" if record.revoked else "it is taken in again"
        text = f"{shown.device} {what}, for the hub went back; {then}"
        await events.tell(self._hub, "warning", "device.adopted", text, id=shown.device, groups=record.groups, is_new=is_new)
