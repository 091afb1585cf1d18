"""Histories of a store that goes back again and again, played without any server: what the hub has is found, whatever came before."""

from __future__ import annotations

import random
from collections import Counter
from itertools import accumulate, pairwise

import pytest

from edgeagent import wire
from edgeagent.chunk import Message, Progress
from edgeagent.patterns.commonlog import CommonLog, Pair
from edgeagent.patterns.forwardprogress import Range, jumped, passed, shortened


class History:
    """A device and its hub. local: the messages of its store, whose time says which they are; hub: its chunks, by the hub's sequence."""

    def __init__(self) -> None:
        self.local: list[Message] = []
        self.hub: dict[int, wire.ChunkFound] = {}
        self.newest: tuple[int, Progress] = (0, Progress(log=1))
        self.clock = self.asked = 0

    def publish(self, count: int) -> None:
        for _ in range(count):
            self.clock += 1
            self.local.append(Message(len(self.local) + 1, self.clock))

    async def ask(self, at: int) -> wire.ChunkFound:
        self.asked += 1
        return self.hub[min((sequence for sequence in self.hub if sequence >= at), default=0)] if self.hub else wire.ChunkFound()

    async def agrees(self, pair: Pair) -> bool:
        return pair[0] <= len(self.local) and self.local[pair[0] - 1].time == pair[1]

    async def resume(self) -> Progress:
        sequence, progress = self.newest
        common = CommonLog(self.ask, self.agrees, log=1, newest=sequence)
        return shortened(await common.progress(progress), len(self.local))

    async def forward(self, drawn: random.Random, chunks: int) -> bool:
        """At most so many chunks; whether nothing is left."""
        progress = await self.resume()
        for _ in range(chunks):
            last = len(self.local)
            if drawn.random() < 0.3:
                progress = jumped(progress, last)
            ways = [Range(*gap) for gap in progress.gaps[:1]] + ([Range(progress.next, last)] if last >= progress.next else [])
            if not ways:
                return True
            way = drawn.choice(ways)
            done = Range(way.first, min(way.last, way.first + 4))
            sent = self.local[done.first - 1 : done.last]
            progress = passed(progress, done, sent, {})
            self.store(progress, sent)
        return False

    def store(self, progress: Progress, sent: list[Message]) -> None:
        sequence = max(self.hub, default=0) + 3  # those between are other devices'
        own = tuple(sent[-1])
        self.hub[sequence] = wire.ChunkFound(
            sequence=sequence,
            log=1,
            epoch=progress.epoch,
            edge=None if progress.edge == own else progress.edge,
            filled=None if progress.filled == own else progress.filled,
            base=progress.base,
            gaps=progress.gaps,
            sequences=[sent[0].sequence, *(b.sequence - a.sequence for a, b in pairwise(sent))],
            times=[sent[0].time, *(b.time - a.time for a, b in pairwise(sent))],
        )
        self.newest = sequence, progress

    def times(self) -> list[int]:
        return [time for found in self.hub.values() for time in accumulate(found.times)]


@pytest.mark.parametrize("seed", range(40))
async def test_everything_is_sent_once_whatever_copy_the_store_is_put_back_to(seed: int) -> None:
    drawn, history = random.Random(seed), History()
    copies: list[list[Message]] = [[]]
    for _ in range(40):
        history.publish(drawn.choice([1, 3, 9, 30]))
        await history.forward(drawn, drawn.choice([0, 1, 2, 5, 99]))
        if drawn.random() < 0.4:
            copies.append(list(history.local))
        if drawn.random() < 0.3:
            history.local = list(drawn.choice(copies))
    while not await history.forward(drawn, 10):
        pass
    found = Counter(history.times())
    assert [time for time, count in found.items() if count > 1] == []
    assert {message.time for message in history.local} <= set(found)
