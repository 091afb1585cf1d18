"""The service that tells a device which chunks of its own the hub has (``edge.from.<id>.request.metric_index`` and ``data_index``).

A device may read only its newest chunk. One whose store was put back to an older copy has to know more, and asks here, some dozens of times
at most: it halves. Any number of instances may run, as one queue group.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import nats.errors

from edgeagent import chunk, subjects, wire
from edgeagent.direct import Stored, in_our_words, read_first
from edgeagent.errors import Failed, Refused
from edgeagent.hub.desk import PENDING_BYTES, PENDING_MESSAGES, Desk, Flooded
from edgeagent.link import Client
from edgeagent.publish import MAX_SEQUENCE
from edgeagent.ratelimit import RateLimits

__all__ = ["ChunkIndex"]

QUEUE = "edgeagent-chunkindex"
WHAT = "say what the hub has of this device"
_PREFIX = "$JS.API"
#: Chunks that nobody can read are passed over, so many at most: who asks may go on after them.
_UNREADABLE = 20


class ChunkIndex:
    """hub: a connection to the account HUB. requests: another one, on which devices' requests come in. flooded: as for :class:`Desk`."""

    def __init__(self, hub: Client, requests: Client, *, flooded: Flooded | None = None) -> None:
        self._hub, self._requests = hub, requests
        # Of one device: a rollback costs about a hundred. All together: a fleet that lost power.
        rates = RateLimits(20, 300, shared=50, remembered=20_000)
        self._desks = {
            "metric_index": Desk(WHAT, self._metrics, rates=rates, flooded=flooded),
            "data_index": Desk(WHAT, self._data, rates=rates, flooded=flooded),
        }
        self._subscriptions: list[Any] = []

    async def __aenter__(self) -> ChunkIndex:
        with in_our_words("answer devices that ask for their chunks"):
            for what, desk in self._desks.items():
                self._subscriptions.append(
                    await self._requests.subscribe(
                        subjects.request_to_hub("*", what),
                        queue=QUEUE,
                        cb=desk.heard,
                        pending_msgs_limit=PENDING_MESSAGES,
                        pending_bytes_limit=PENDING_BYTES,
                    )
                )
        return self

    async def __aexit__(self, *_: object) -> None:
        for subscription in self._subscriptions:
            with contextlib.suppress(nats.errors.Error):  # the connection may be gone already
                await subscription.unsubscribe()
        for desk in self._desks.values():
            await desk.close()

    async def _metrics(self, device_id: str, data: bytes) -> wire.ChunkFound:
        return await self._find(subjects.METRICS, subjects.metric(_checked(device_id)), _at(data), chunk.decode_metrics)

    async def _data(self, device_id: str, data: bytes) -> wire.ChunkFound:
        return await self._find(subjects.DATA, subjects.data(_checked(device_id)), _at(data), _data_head)

    async def _find(self, stream: str, subject: str, at: int, decode: Callable[[bytes], _Chunk]) -> wire.ChunkFound:
        unreadable = 0
        for _ in range(_UNREADABLE):
            stored = await read_first(self._hub, stream, subject, at, prefix=_PREFIX)
            if stored is None:
                break
            with contextlib.suppress(Failed):
                return _found(stored, decode(stored.data))
            unreadable, at = stored.sequence, stored.sequence + 1
        return wire.ChunkFound(unreadable=unreadable)


_Chunk = chunk.MetricChunk | chunk.DataChunk


def _data_head(payload: bytes) -> chunk.DataChunk:
    return chunk.decode_data(payload)[0]


def _found(stored: Stored, found: _Chunk) -> wire.ChunkFound:
    progress = found.progress
    return wire.ChunkFound(
        sequence=stored.sequence,
        log=progress.log,
        epoch=progress.epoch,
        edge=progress.edge,
        filled=progress.filled,
        base=progress.base,
        gaps=progress.gaps,
        next=progress.next,
        forwarded=progress.forwarded,
        dropped=progress.dropped,
        sequences=found.sequences,
        times=found.times,
    )


def _checked(device_id: str) -> str:
    """It comes from a subject, and goes into another one."""
    if not subjects.is_id(device_id):
        raise Refused(WHAT, "this is no name of a device")
    return device_id


def _at(data: bytes) -> int:
    try:
        at = msgspec.json.decode(data, type=wire.ChunkAsked).at
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(WHAT, "the hub cannot read the question", "is edgeagent on this device much older or newer?") from None
    if not 0 <= at < MAX_SEQUENCE:
        raise Refused(WHAT, f"there is no sequence {at}")
    return max(1, at)
