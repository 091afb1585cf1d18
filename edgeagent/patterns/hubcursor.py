"""Where a device left off: its newest chunk on the hub, and after a rollback what of the local stream the hub has.

The local stream may have been put back to an older copy, with other messages under numbers that were used before. What both have in
common is a prefix: as soon as one message differs, in its sequence or its time, all after it do. So it is found by halving, over the
device's chunks on the hub, of one epoch after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from itertools import accumulate
from typing import NamedTuple

from msgspec.structs import replace

from edgeagent import subjects, wire
from edgeagent.chunk import Message, Progress, messages_of
from edgeagent.direct import get_last
from edgeagent.errors import Failed
from edgeagent.link import Client, request
from edgeagent.patterns.forwardchunks import Kind
from edgeagent.patterns.forwardprogress import begun_anew, put_back
from edgeagent.patterns.locallog import LocalLog, State
from edgeagent.services import result

__all__ = ["Cursor", "HubCursor", "last_where"]

log = logging.getLogger("edgeagent")

#: How long the hub may take for an answer, in seconds.
TIMEOUT_SECONDS = 10.0
#: How many epochs back are looked at: each is a card or a store that was put back.
MAX_EPOCHS = 16


class Cursor(NamedTuple):
    """sequence: the hub's, of the device's newest chunk; 0: it has none. anew: why ``progress`` is not what that chunk says; empty: it is."""

    sequence: int
    progress: Progress
    anew: str = ""


class _Newest(NamedTuple):
    """The device's newest chunk on the hub. progress: with its edge, always; None: it cannot be read."""

    sequence: int
    progress: Progress | None


class HubCursor:
    """Asks the hub for one device. log: the local stream that it forwards."""

    def __init__(self, client: Client, device_id: str, kind: Kind, log: LocalLog) -> None:
        self._client, self._id, self._kind, self._log = client, device_id, kind, log
        self._subject = kind.say(device_id)
        self._known: dict[int, wire.ChunkFound] = {}

    async def read(self, state: State, hint: Progress | None) -> Cursor:
        """Where to go on. state: of the local stream. hint: the progress as far as it is known without the hub; None: it is not.

        Raises EdgeError.
        """
        self._known.clear()
        newest = await self._newest()
        progress = newest.progress
        if progress is None:
            return Cursor(newest.sequence, *await self._without_the_hub(state, hint))
        if state.created > progress.log:
            return Cursor(newest.sequence, begun_anew(progress, state.created), "the local stream is a new one")
        if progress.log == state.created and await self._agrees(progress.edge, state):
            return Cursor(newest.sequence, progress)
        return Cursor(
            newest.sequence,
            await self._common(newest.sequence, progress, state),
            "the local stream was put back to an older copy",
        )

    async def _newest(self) -> _Newest:
        stored = await get_last(self._client, self._kind.stream, self._subject, marks=True, timeout=TIMEOUT_SECONDS)
        if stored is None:
            return _Newest(0, None)
        try:
            chunk = self._kind.decode(stored.data)
            edge = chunk.progress.edge or max(map(tuple, messages_of(chunk)), default=None)
        except Failed as error:  # it is of a newer edgeagent, perhaps: this one was put back
            log.error("the hub's newest chunk of this device is of no use: %s", error)
            return _Newest(stored.sequence, None)
        return _Newest(stored.sequence, replace(chunk.progress, edge=edge))

    async def _without_the_hub(self, state: State, hint: Progress | None) -> tuple[Progress, str]:
        if hint is None:
            return Progress(log=state.created), ""
        if hint.log == state.created and await self._agrees(hint.edge, state):
            return hint, ""
        return begun_anew(hint, state.created), "the local stream is another one, and the hub has nothing of it"

    async def _agrees(self, edge: tuple[int, int] | None, state: State) -> bool:
        """Whether nothing speaks against the local stream having had this message. What went, or never was, does not."""
        if edge is None or edge[0] < state.first:
            return True
        if edge[0] > state.last:
            return False
        found = await self._log.at(edge[0])
        return found is None or found.time == edge[1]

    # ---- after a rollback ----

    async def _common(self, newest: int, top: Progress, state: State) -> Progress:
        """The progress with the local stream as it is now: what the hub has of it is done, all else is to be sent."""
        for epoch in range(top.epoch, max(-1, top.epoch - MAX_EPOCHS), -1):
            begin = await last_where(self._found, newest, _before(epoch))
            first = await self._found(begin + 1)
            if first.epoch != epoch or first.log != state.created or not await self._agrees(_base(first), state):
                continue
            end = await last_where(self._found, newest, _before(epoch + 1))
            last = await self._found(end)
            gaps = top.gaps if epoch == top.epoch else last.gaps
            return put_back(top, state.created, await self._prefix(begin, end, state), gaps)
        return begun_anew(top, state.created)

    async def _prefix(self, begin: int, end: int, state: State) -> Message | None:
        """The last message that the hub's chunks from ``begin`` (not included) to ``end`` and the local stream have in common."""

        async def agrees(found: wire.ChunkFound) -> bool:
            return found.sequence <= begin or await self._agrees(_edge(found), state)

        good = await last_where(self._found, end, agrees)
        edge = _edge(await self._found(good)) if good > begin else None
        following = sorted(_pairs(await self._found(good + 1))) if good < end else []
        low, high = 0, len(following)  # those below ``low`` agree
        while low < high:
            middle = (low + high) // 2
            if await self._agrees(following[middle], state):
                low = middle + 1
            else:
                high = middle
        found = following[:low] + ([edge] if edge else [])
        return Message(*max(found)) if found else None

    async def _found(self, at: int) -> wire.ChunkFound:
        """The chunk at the hub's sequence ``at``, or the next one after it; the same question is asked once."""
        if at not in self._known:
            self._known[at] = await self._ask(at)
        return self._known[at]

    async def _ask(self, at: int) -> wire.ChunkFound:
        subject = subjects.request_to_hub(self._id, f"{self._kind.name}_index")
        what = "ask the hub what it has"
        answer = await request(self._client, subject, wire.encode(wire.ChunkAsked(at)), what=what, timeout=TIMEOUT_SECONDS)
        return result(answer.data, wire.ChunkFound)


_Pair = tuple[int, int]


def _pairs(found: wire.ChunkFound) -> list[_Pair]:
    return list(zip(accumulate(found.sequences), accumulate(found.times), strict=False))


def _edge(found: wire.ChunkFound) -> _Pair | None:
    return found.edge or max(_pairs(found), default=None)


def _base(found: wire.ChunkFound) -> _Pair | None:
    """Of the first chunk of an epoch: the lowest message that says whether the epoch is one of the local stream as it is. What it has of
    the backlog is older than the epoch.
    """
    return found.edge or min(_pairs(found), default=None)


def _before(epoch: int) -> Callable[[wire.ChunkFound], Awaitable[bool]]:
    async def holds(found: wire.ChunkFound) -> bool:
        return found.epoch < epoch

    return holds


async def last_where(
    ask: Callable[[int], Awaitable[wire.ChunkFound]], last: int, holds: Callable[[wire.ChunkFound], Awaitable[bool]]
) -> int:
    """The sequence of the last chunk up to ``last`` for which it holds, 0 for none. It holds for all before that, and for none after it.

    ask: for the chunk at a sequence, or the next one after it.
    """
    good, bad = 0, last + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        found = await ask(middle)
        if found.sequence and await holds(found):
            good = found.sequence
        else:
            bad = middle
    return good
