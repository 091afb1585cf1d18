"""Looks after the hub's store for as long as it runs: says when it is full, answers in its place, and has it begin anew once there is space.

The shell around :mod:`edgeagent.hub.storestate`. Any number of instances may run; only the one beside a server sees its disk and restarts it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import nats.errors

from edgeagent.direct import in_our_words
from edgeagent.errors import EdgeError, Unreachable
from edgeagent.hub.storestate import Restarts, ServerStore, is_full, is_low, read_healthz, silent
from edgeagent.hub.storevoice import StoreVoice, close_streams
from edgeagent.leaf.storelimit import Disk, disk_of
from edgeagent.link import Client
from edgeagent.times import duration

__all__ = ["Beside", "StoreKeeper", "Tell", "stores"]

log = logging.getLogger("edgeagent.hub")

#: How often to look, in seconds: a small question to each server, and one to the disk.
LOOK_SECONDS = 1.0
#: How long the first server may take to answer, and how long after it the others of a cluster, in seconds.
ANSWER_SECONDS, STALL_SECONDS = 2.0, 0.5
#: Pauses between restarts whose cause is no full disk, and the shortest between two that a full disk caused, in seconds.
PAUSES, SPACING_SECONDS = (5.0, 60.0, 600.0), 20.0
#: With less free than this no file gets a new block, in bytes.
BLOCKS_BYTES = 8 << 10
#: Where several servers had the same disk they do not restart in the same moment, in seconds.
SPREAD_SECONDS = 2.0


class Tell(Protocol):
    """Tells a person. Never blocks, never raises."""

    def __call__(self, severity: str, kind: str, text: str, **fields: Any) -> None: ...


@dataclass(frozen=True)
class Beside:
    """The server that these services run beside. name: as it calls itself. folder: its store. restart: ends it and starts it again."""

    name: str
    folder: Path
    restart: Callable[[], None]


async def stores(system: Client, expected: int) -> list[ServerStore]:
    """What each server says of its store, as soon as ``expected`` of them have answered. system: a connection to SYS.

    Raises Unreachable when none does.
    """
    with in_our_words("ask the hub's servers for their health"):
        inbox = system.new_inbox()
        answers = await system.subscribe(inbox)
        found: list[ServerStore] = []
        try:
            await system.publish("$SYS.REQ.SERVER.PING.HEALTHZ", json.dumps({"details": True}).encode(), reply=inbox)
            while len(found) < expected:
                message = await answers.next_msg(timeout=STALL_SECONDS if found else ANSWER_SECONDS)
                if not message.data:  # the server's word that nobody listens there
                    break
                found.append(read_healthz(message.data))
        except nats.errors.TimeoutError:
            pass
        finally:
            await answers.unsubscribe()
    if not found:
        raise Unreachable("ask the hub's servers for their health", "none answered")
    return found


class StoreKeeper:
    """system, hub: connections to SYS and HUB. voice: who answers. beside: None where no server of this machine is ours. servers: how many there are."""

    def __init__(
        self, system: Client, hub: Client, voice: StoreVoice, tell: Tell, *, beside: Beside | None, servers: int = 1
    ) -> None:
        self._system, self._hub, self._voice, self._tell = system, hub, voice, tell
        self._beside, self._servers = beside, servers
        self._restarts = Restarts(PAUSES, spacing=SPACING_SECONDS)
        self._bad_since: float | None = None
        self._told_low, self._without_blocks = False, 0
        #: Called when something is otherwise than it was.
        self.on_change: Callable[[], None] = lambda: None
        #: What was seen last. disk: None where it is not ours to look at.
        self.seen: list[ServerStore] = []
        self.disk: Disk | None = None

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except EdgeError as error:  # it is away; it is looked after elsewhere
                log.debug("%s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once, and do what is to be done. Raises EdgeError."""
        self.disk = disk_of(self._beside.folder) if self._beside else None
        self._warn_early()
        before, self.seen = self.seen, await stores(self._system, self._servers)
        if await self._close_what_is_full():
            self.seen = await stores(self._system, self._servers)
        quiet = silent(self.seen, self._servers)
        off = sum(bool(each.off) for each in self.seen) > self._servers // 2
        with in_our_words("answer in the place of the store"):
            await self._voice.speak_for(quiet, reads=off)
        own = next((each for each in self.seen if self._beside and each.server == self._beside.name), None)
        if self._beside and self.disk and own:
            self._say(own, self.disk, is_silent=bool(quiet))
            await self._mend(self._beside, own, self.disk)
        elif [each.is_good for each in before] != [each.is_good for each in self.seen]:
            self.on_change()

    async def _close_what_is_full(self) -> bool:
        """Close the streams when the disk had no block left twice in a row; whether it was done. Of several servers others have room."""
        has_none = self.disk is not None and self.disk.free < BLOCKS_BYTES and self._servers == 1
        self._without_blocks = self._without_blocks + 1 if has_none else 0
        if self._without_blocks != 2:
            return False
        await close_streams(self._hub, silent(self.seen, self._servers))
        return True

    def _warn_early(self) -> None:
        disk = self.disk
        if disk is None or is_low(disk) == self._told_low:
            return
        self._told_low = is_low(disk)
        if is_low(disk) and not is_full(disk):
            text = f"the disk of the hub's store is nearly full: {disk.free >> 20} MiB are free of {disk.size >> 20}"
            self._tell("warning", "hub.store_low", text, free=disk.free, size=disk.size)

    def _say(self, own: ServerStore, disk: Disk, *, is_silent: bool) -> None:
        """Each instance tells of the server that it runs beside, so everything is told once. is_silent: nobody else has room either."""
        is_bad = is_full(disk) or not own.is_good
        if is_bad and self._bad_since is None:
            self._bad_since = time.monotonic()
            self.on_change()
            alone = is_silent or self._servers == 1
            self._tell("critical" if alone else "error", "hub.store_full", _text(own, disk, alone=alone), server=own.server)
        elif not is_bad and self._bad_since is not None:
            seconds, self._bad_since = round(time.monotonic() - self._bad_since), None
            self.on_change()
            text = f"the store of {own.server} takes everything again, after {duration(seconds)}"
            self._tell("info", "hub.store_back", text, server=own.server, seconds=seconds)

    async def _mend(self, beside: Beside, own: ServerStore, disk: Disk) -> None:
        others_are_there = len(self.seen) >= self._servers  # one that is away just now may be starting: one at a time
        if self._restarts.step(own, disk, time.monotonic(), free_to=others_are_there) == "restart":
            await asyncio.sleep(random.uniform(0, SPREAD_SECONDS) if self._servers > 1 else 0)
            log.warning("nats-server is restarted: there is space, and what had a write error takes nothing until then")
            beside.restart()


def _text(own: ServerStore, disk: Disk, *, alone: bool) -> str:
    what = f"the store of {own.server} is full" if is_full(disk) else f"the store of {own.server} takes nothing: {own.why}"
    then = "nobody can command or configure anything, and devices keep what they have" if alone else "the other servers go on"
    free = " Free some space on its disk: it goes on by itself" if is_full(disk) else ""
    return f"{what}; {then}.{free}"
