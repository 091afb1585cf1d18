"""Following what devices store, live, for ``/metrics``: their newest samples, and how far each has come with forwarding."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any

from edgeagent import chunk, subjects
from edgeagent.chunk import Progress
from edgeagent.direct import get_last, in_our_words, republished
from edgeagent.errors import EdgeError
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.exportervalues import NewestValues
from edgeagent.link import Client
from edgeagent.ratelimit import RateLimits

__all__ = ["SampleFollower", "causes", "waiting"]

#: Reads at once when it begins.
WINDOW = 64
#: Chunks of one device that are unpacked, a second and at once: more are none of a device that measures, and each costs milliseconds.
CHUNKS_PER_SECOND, CHUNKS_AT_ONCE = 2.0, 100
#: Devices of which that is counted.
COUNTED = 20_000
#: Words for causes that one device may have; more are counted together.
MAX_CAUSES = 8
_CAUSE = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")


class SampleFollower:
    """hub: a connection to the account HUB. values: None: samples are not wanted. clock: Unix seconds.

    progress: of each device, as of its newest chunk. unreadable: chunks that made no sense. flood: chunks that were too many.
    """

    def __init__(self, hub: Client, values: NewestValues | None, clock: Callable[[], float]) -> None:
        self._hub, self._values, self._clock = hub, values, clock
        self._newest: dict[str, int] = {}
        self._rates = RateLimits(CHUNKS_PER_SECOND, CHUNKS_AT_ONCE, shared=COUNTED, remembered=COUNTED)
        self.progress: dict[str, Progress] = {}
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
                self.take(device, found.sequence, found.data)

        await asyncio.gather(*(one(device) for device in devices))

    async def _heard(self, message: Any) -> None:
        stored = republished(message)
        if stored is not None:
            self.take(subjects.device_of(stored.subject), stored.sequence, stored.data)

    def take(self, device: str, sequence: int, data: bytes) -> None:
        """A chunk as it is stored. One that is older than what was seen of the device changes only what it has alone."""
        if not subjects.is_id(device):
            return
        if not self._rates.allow(device):
            self.flood += 1
            return
        try:
            found = chunk.decode_metrics(data)
            if self._values is not None:
                self._values.add(device, chunk.points_of(found), self._clock())
        except EdgeError:
            self.unreadable += 1
            return
        if sequence >= self._newest.get(device, 0):
            self._newest[device], self.progress[device] = sequence, found.progress

    def forget(self, known: set[str]) -> None:
        """Keep only what is known of these devices."""
        for device in self.progress.keys() - known:
            del self.progress[device], self._newest[device]


def waiting(progress: Progress) -> int:
    """Messages that were stored on the device before its newest chunk, and have not come yet."""
    return sum(max(0, last - first + 1) for first, last in progress.gaps)


def causes(progress: Progress) -> dict[str, int]:
    """What was dropped, by cause, however many words the device has for it."""
    found: dict[str, int] = {}
    for cause in sorted(progress.dropped):
        known = _CAUSE.match(cause) and len(found) < MAX_CAUSES
        name = cause if known else "other"
        found[name] = found.get(name, 0) + progress.dropped[cause]
    return found
