"""What the hub has of a local stream that was put back to an older copy, found in some dozens of questions.

A message is known by its sequence and its time. Each epoch of a device is a history: it goes on from a prefix of an older one (its
base), and as soon as one of its messages differs from the local stream's, all after it do. So the prefix that an epoch and the local stream have
in common is found by halving. Up to there, what the epoch says that was sent, was. The local stream may be a copy of any age: a newer
epoch may have less in common with it than an older one, and know more of what was sent below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import accumulate
from typing import NamedTuple

from edgeagent import wire
from edgeagent.chunk import Message, Progress
from edgeagent.patterns.forwardprogress import Claim, put_back

__all__ = ["MAX_EPOCHS", "CommonLog", "Pair", "edge_of", "frontier_of", "last_where"]

#: How many epochs back are looked at: each is a card or a store that was put back.
MAX_EPOCHS = 16

#: Sequence and time of a local message.
Pair = tuple[int, int]
#: Asks for the chunk at a sequence of the hub's, or the next one after it.
Ask = Callable[[int], Awaitable[wire.ChunkFound]]

#: The message that a chunk is at, in one way or another.
Mark = Callable[[wire.ChunkFound], "Pair | None"]


class _Life(NamedTuple):
    """The chunks of one epoch: the hub's sequence before the first, that of the last, and both of them."""

    begin: int
    end: int
    first: wire.ChunkFound
    last: wire.ChunkFound


class CommonLog:
    """agrees: whether nothing speaks against the local stream having that message. log: as in :class:`Progress`, of the local stream.
    newest: the hub's sequence of the device's newest chunk.
    """

    def __init__(self, ask: Ask, agrees: Callable[[Pair], Awaitable[bool]], *, log: int, newest: int) -> None:
        self._ask, self._agrees = ask, agrees
        self._log, self._newest = log, newest

    async def progress(self, top: Progress) -> Progress:
        """How far it is. ``top``, of the newest chunk, itself: the local stream is still what it was then. Raises EdgeError."""
        agrees = top.log == self._log and (top.edge is None or await self._agrees(top.edge))
        if agrees and (top.base is None or top.edge != top.base[1:]):
            return top
        claims = await self.claims(top.epoch)
        # An epoch that has sent nothing new yet is no proof: an older one may go on from the same message, and have sent more.
        if agrees and all(claim.prefix <= (top.edge or (0, 0)) for claim in claims):
            return top
        return put_back(top, self._log, claims)

    async def claims(self, top: int) -> list[Claim]:
        """What the epochs up to ``top`` say of the local stream; together it is all that the hub has of it. Raises EdgeError."""
        found = []
        for epoch in range(top, max(-1, top - MAX_EPOCHS), -1):
            life = await self._life(epoch)
            prefix = await self._prefix(epoch)
            if life is None or prefix is None:
                continue
            found.append(Claim(epoch, prefix, tuple(life.last.gaps)))
            if epoch == top and life.first.base is None:
                break  # there is none before it that knows this log
        return found

    async def _life(self, epoch: int) -> _Life | None:
        begin = await last_where(self._ask, self._newest, _before(epoch))
        first = await self._ask(begin + 1)
        if first.epoch != epoch or first.log != self._log:
            return None
        end = await last_where(self._ask, self._newest, _before(epoch + 1))
        return _Life(begin, end, first, await self._ask(end))

    async def _prefix(self, epoch: int) -> Message | None:
        """The last message that the epoch and the local stream have in common."""
        life = await self._life(epoch)
        if life is None:
            return None
        base, found = life.first.base, await self._inside(life, frontier_of)
        if base is None or await self._agrees(base[1:]):
            found += await self._inside(life, edge_of) + ([base[1:]] if base else [])
        elif base[0] < epoch and (older := await self._prefix(base[0])):
            found.append(older)
        return Message(*max(found)) if found else None

    async def _inside(self, life: _Life, mark: Mark) -> list[Pair]:
        """The same among the messages of its chunks, as the only one or the last one of a list. mark: says how far a chunk is, and grows from
        one chunk to the next.
        """

        async def agrees(found: wire.ChunkFound) -> bool:
            pair = mark(found)
            return found.sequence <= life.begin or pair is None or not pair[0] or await self._agrees(pair)

        good = await last_where(self._ask, life.end, agrees)
        pair = mark(await self._ask(good)) if good > life.begin else None
        following = sorted(_pairs(await self._ask(good + 1))) if good < life.end else []
        low, high = 0, len(following)  # those below ``low`` agree
        while low < high:
            middle = (low + high) // 2
            if await self._agrees(following[middle]):
                low = middle + 1
            else:
                high = middle
        return ([pair] if pair and pair[0] else []) + following[:low]


def _pairs(found: wire.ChunkFound) -> list[Pair]:
    return list(zip(accumulate(found.sequences), accumulate(found.times), strict=False))


def edge_of(found: wire.ChunkFound) -> Pair | None:
    """The highest message that was sent, as of that chunk."""
    return found.edge or max(_pairs(found), default=None)


def frontier_of(found: wire.ChunkFound) -> Pair | None:
    """The last message that was sent before the first gap, as of that chunk."""
    return found.filled or max(_pairs(found), default=None)


def _before(epoch: int) -> Callable[[wire.ChunkFound], Awaitable[bool]]:
    async def holds(found: wire.ChunkFound) -> bool:
        return found.epoch < epoch

    return holds


async def last_where(ask: Ask, last: int, holds: Callable[[wire.ChunkFound], Awaitable[bool]]) -> int:
    """The sequence of the last chunk up to ``last`` for which it holds, 0 for none. It holds for all before that, and for none after it."""
    good, bad = 0, last + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        found = await ask(middle)
        if found.sequence and await holds(found):
            good = found.sequence
        else:
            bad = middle
    return good
