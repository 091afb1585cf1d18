"""What the hub's index says of a device's chunks, as far as it may be believed.

Any of the hub's servers answers, also one that lags behind: what it does not have is there all the same. The device knows of its newest
chunk, so an answer that denies it is none.
"""

from __future__ import annotations

from edgeagent import wire
from edgeagent.chunk import Progress
from edgeagent.errors import Unreachable
from edgeagent.patterns.commonlog import Ask, edge_of, frontier_of, last_where

__all__ = ["HubChunks", "progress_of"]


class HubChunks:
    """ask: the index. newest: the hub's sequence of the device's newest chunk. Every method raises EdgeError."""

    def __init__(self, ask: Ask, newest: int) -> None:
        self._ask, self._newest = ask, newest

    async def at(self, at: int) -> wire.ChunkFound:
        """The first chunk from the hub's sequence ``at`` on that can be read, with the sequence 0 if none of them can.

        at: not above the newest chunk's sequence. Raises Unreachable when the hub does not know of that one yet.
        """
        while True:
            found = await self._ask(at)
            if at <= found.sequence <= self._newest or (not found.sequence and found.unreadable == self._newest):
                return found
            if found.sequence or not at <= found.unreadable < self._newest:
                raise Unreachable("ask the hub what it has", "its answer and its newest chunk are not of one time")
            at = found.unreadable + 1

    async def last(self) -> wire.ChunkFound:
        """The newest chunk that can be read, with the sequence 0 if none can."""

        async def holds(_: wire.ChunkFound) -> bool:
            return True

        readable = await last_where(self.at, self._newest, holds)
        return await self.at(readable) if readable else wire.ChunkFound()


def progress_of(found: wire.ChunkFound) -> Progress:
    """How far the device was with that chunk, with its edges."""
    return Progress(
        log=found.log,
        epoch=found.epoch,
        next=found.next,
        gaps=found.gaps,
        forwarded=found.forwarded,
        dropped=found.dropped,
        edge=edge_of(found),
        filled=frontier_of(found) if found.gaps else None,
        base=found.base,
    )
