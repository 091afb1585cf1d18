"""Puts the agent's own samples into the leaf's store: acknowledged, once, in order; while the store takes none they wait, bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

import msgspec

from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.localsubjects import local_metric
from edgeagent.patterns.ownlog import HEADER_BYTES, OwnLog
from edgeagent.sample import MAX_PAYLOAD_BYTES, Sample, encode_samples

__all__ = ["SampleWriter"]

#: How many samples of one source wait; then the oldest go. An hour and a half of the built-in collectors.
MAX_WAITING = 5000
#: How many are one message at most: half of a chunk.
MAX_MESSAGE_SAMPLES = 250


class _Message(NamedTuple):
    payload: bytes
    samples: int


class _Source:
    """sending: what may be stored already."""

    def __init__(self, client: Client, name: str) -> None:
        self.log = OwnLog(client, local_metric(name), what=f"store the samples of {name}")
        self.waiting: deque[Sample] = deque()
        self.sending: _Message | None = None


class SampleWriter:
    """client: to the leaf. dropped: samples that had no room, or alone were too large for a message."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sources: dict[str, _Source] = {}
        self._turn = asyncio.Lock()
        self.dropped = 0

    @property
    def waiting(self) -> int:
        return sum(len(each.waiting) + (each.sending.samples if each.sending else 0) for each in self._sources.values())

    def add(self, source: str, samples: list[Sample]) -> None:
        """They are written at the next flush."""
        found = self._sources.setdefault(source, _Source(self._client, source))
        found.waiting.extend(samples)
        while len(found.waiting) > MAX_WAITING:
            found.waiting.popleft()
            self.dropped += 1

    async def flush(self) -> EdgeError | None:
        """Write what waits; why not all of it could be, None when it was. Each source has its own try."""
        problem = None
        async with self._turn:
            for source in list(self._sources.values()):
                try:
                    await self._flush(source)
                except EdgeError as error:
                    problem = error
        return problem

    async def _flush(self, source: _Source) -> None:
        while source.sending or source.waiting:
            if source.sending is None:
                before = len(source.waiting)
                source.sending = _message(source.waiting)
                self.dropped += before - len(source.waiting) - source.sending.samples
            if source.sending.samples:
                await source.log.store(source.sending.payload)
            source.sending = None


def _message(waiting: deque[Sample]) -> _Message:
    """As many of them as one message has room for, taken away from there. None of them when the first alone is too large: it is gone."""
    taken: list[Sample] = []
    room = MAX_PAYLOAD_BYTES - HEADER_BYTES - len(encode_samples([]))
    while waiting and len(taken) < MAX_MESSAGE_SAMPLES:
        room -= len(msgspec.json.encode(waiting[0])) + 1
        if room < 0:
            if not taken:
                waiting.popleft()
            break
        taken.append(waiting.popleft())
    return _Message(encode_samples(taken), len(taken))
