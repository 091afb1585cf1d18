"""Writes the agent's own samples to the leaf: acknowledged, in order, and kept meanwhile in a queue that has an end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from edgeagent import localsubjects
from edgeagent.backoff import delays
from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.runtime import woken
from edgeagent.sample import Sample, encode_samples

__all__ = ["MAX_WAITING_BYTES", "LocalWriter"]

log = logging.getLogger("edgeagent")

#: What may wait while the leaf takes nothing; then the oldest go. Some two hours of the default collectors.
MAX_WAITING_BYTES = 1 << 20
#: Bounds of the pause after the leaf did not take a message, in seconds.
RETRY_SECONDS = (0.5, 10.0)


class LocalWriter:
    """Publishes to ``local.metric.<source>`` whatever it is given. dropped: samples that had no room in the queue."""

    def __init__(self, client: Client, *, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._client, self._max = client, max_waiting_bytes
        self._waiting: deque[tuple[str, bytes, int]] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Samples that the leaf has not acknowledged."""
        return sum(count for _, _, count in self._waiting)

    def write(self, source: str, samples: list[Sample]) -> None:
        """One message; never waits. Give each sample its time: it may be stored much later."""
        payload = encode_samples(samples)
        self._waiting.append((localsubjects.local_metric(source), payload, len(samples)))
        self._bytes += len(payload)
        while self._bytes > self._max:
            self.dropped += self._take()
        self._wake.set()

    def _take(self) -> int:
        _, payload, count = self._waiting.popleft()
        self._bytes -= len(payload)
        return count

    async def run(self) -> None:
        """Write for ever; what was not acknowledged is written again, so a sample may be there twice after an outage of the leaf."""
        pauses = delays(*RETRY_SECONDS)
        while True:
            good = await self._write_all()
            pauses = delays(*RETRY_SECONDS) if good else pauses
            await woken(self._wake, None if good else next(pauses))

    async def _write_all(self) -> bool:
        while self._waiting:
            subject, payload, _ = first = self._waiting[0]
            try:
                await published(self._client, subject, payload)
            except EdgeError as error:
                log.debug("%s", error)
                return False
            if self._waiting and self._waiting[0] is first:
                self._take()
        return True
