"""Following what devices store, live, for ``/metrics``: their newest samples, and how far each has come with forwarding."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from edgeagent import chunk, subjects
from edgeagent.chunk import Progress
from edgeagent.direct import get_last, in_our_words, republished
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.exportervalues import NewestValues
from edgeagent.link import Client
from edgeagent.ratelimit import RateLimits

__all__ = ["Forwarding", "SampleFollower", "causes", "forwarding"]

#: Reads at once when it begins.
WINDOW = 64
#: Chunks of one device that are unpacked, a second and at once: more are none of a device that measures, and each costs milliseconds.
CHUNKS_PER_SECOND, CHUNKS_AT_ONCE = 2.0, 100
#: Devices of which that is counted.
COUNTED = 20_000
#: Words for causes that one device may have; more are counted together.
MAX_CAUSES = 8
_CAUSE = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
#: Greater counts are shown as this: a device may claim any, and a float holds no greater one exactly.
_MAX_COUNT = 1 << 53


class Forwarding(NamedTuple):
    """How far a device has come, in messages. forwarded: came to the hub. dropped: never will, by cause. waiting: have not come yet."""

    forwarded: int
    dropped: dict[str, int]
    waiting: int


class SampleFollower:
    """hub: a connection to the account HUB. values: None: samples are not wanted. clock: Unix seconds.

    forwarding: of each device, as of its newest chunk. unreadable: chunks that made no sense. flood: chunks that were too many.
    """

    def __init__(self, hub: Client, values: NewestValues | None, clock: Callable[[], float]) -> None:
        self._hub, self._values, self._clock = hub, values, clock
        self._newest: dict[str, datetime] = {}
        self._rates = RateLimits(CHUNKS_PER_SECOND, CHUNKS_AT_ONCE, shared=COUNTED, remembered=COUNTED)
        self.forwarding: dict[str, Forwarding] = {}
        self.unreadable = 0
        self.flood = 0

    async def start(self) -> None:
        """Listen. Raises EdgeError."""
        with in_our_words("follow what devices measure"):
            await self._hub.subscribe(subjects.live("*", "metric"), cb=self._heard)

    async def read(self, devices: Iterable[str]) -> None:
        """Take in the newest chunk of each. Raises EdgeError."""
        window = asyncio.Semaphore(WINDOW)

        async def one(device: str) -> None:
            async with window:
                found = await get_last(self._hub, subjects.METRICS, subjects.metric(device), prefix=PREFIX)
            if found is not None:
                self.take(device, found.time, found.data)

        await asyncio.gather(*(one(device) for device in devices))

    async def _heard(self, message: Any) -> None:
        stored = republished(message)
        if stored is not None:
            self.take(subjects.device_of(stored.subject), stored.time, stored.data)

    def take(self, device: str, stored: datetime, data: bytes) -> None:
        """A chunk, and when the hub stored it. One that is older than what was seen of the device changes only what it has alone.

        Sequences would not tell which is older: they begin anew when the hub's store was lost.
        """
        if not subjects.is_id(device):
            return
        if not self._rates.allow(device):
            self.flood += 1
            return
        try:
            found = chunk.decode_metrics(data)
            if self._values is not None:
                self._values.add(device, chunk.points_of(found), self._clock())
        except Exception:  # mostly EdgeError; nobody's chunk may end this
            self.unreadable += 1
            return
        if device not in self._newest or stored >= self._newest[device]:
            self._newest[device], self.forwarding[device] = stored, forwarding(found.progress)

    def forget(self, known: set[str]) -> None:
        """Keep only what is known of these devices."""
        for device in self.forwarding.keys() - known:
            del self.forwarding[device], self._newest[device]


def forwarding(progress: Progress) -> Forwarding:
    """What is shown of it: a few small numbers, whatever the device claims."""
    waiting = sum(max(0, last - first + 1) for first, last in progress.gaps)
    return Forwarding(_count(progress.forwarded), causes(progress), _count(waiting))


def _count(number: int) -> int:
    return max(0, min(number, _MAX_COUNT))


def causes(progress: Progress) -> dict[str, int]:
    """What was dropped, by cause, however many words the device has for it."""
    found: dict[str, int] = {}
    for cause in sorted(progress.dropped):
        known = _CAUSE.match(cause) and len(found) < MAX_CAUSES
        name = cause if known else "other"
        found[name] = _count(found.get(name, 0) + _count(progress.dropped[cause]))
    return found
