"""What the hub's index says is believed only as far as it knows of the device's newest chunk."""

from __future__ import annotations

import pytest

from edgeagent import wire
from edgeagent.chunk import Message, Progress
from edgeagent.errors import Unreachable
from edgeagent.patterns.commonlog import CommonLog, Pair
from edgeagent.patterns.hubchunks import HubChunks, progress_of


class Index:
    """As :class:`edgeagent.hub.chunkindex.ChunkIndex`: passes over two unreadable chunks at once. has: up to which of the hub's sequences."""

    def __init__(self, readable: set[int], unreadable: set[int], has: int) -> None:
        self.readable, self.unreadable, self.has, self.asked = readable, unreadable, has, 0

    async def ask(self, at: int) -> wire.ChunkFound:
        self.asked += 1
        passed: list[int] = []
        for sequence in sorted(each for each in self.readable | self.unreadable if at <= each <= self.has):
            if sequence in self.readable:
                pair = (sequence, sequence)
                return wire.ChunkFound(
                    sequence=sequence, log=7, next=sequence + 1, edge=pair, sequences=[sequence], times=[sequence]
                )
            passed.append(sequence)
            if len(passed) == 2:
                break
        return wire.ChunkFound(unreadable=max(passed, default=0))


@pytest.mark.parametrize("lag", [0, 1, 20, 50, 100])
async def test_a_server_that_lags_makes_no_doubles(lag: int) -> None:
    """The card went back to message 90 of 100: all above it goes again, and nothing below."""

    async def agrees(pair: Pair) -> bool:
        return pair[0] <= 90

    chunks = HubChunks(Index(set(range(1, 101)), set(), 100 - lag).ask, newest=100)
    log = CommonLog(chunks.at, agrees, log=7, newest=100)
    top = Progress(log=7, next=101, edge=(100, 100))
    if lag:
        with pytest.raises(Unreachable):
            await log.progress(top)
    else:
        assert (await log.progress(top)).next == 91


@pytest.mark.parametrize(
    ("readable", "unreadable", "last"),
    [
        ({1, 5, 9}, set(), 9),
        ({1, 5, 9}, {10, 11, 12, 13, 14}, 9),
        ({1, 5, 9}, {2, 3, 4, 6, 12}, 9),
        (set(), {3, 4, 5, 6, 7}, 0),
    ],
    ids=["all", "a-row-at-the-end", "between", "none"],
)
async def test_the_newest_that_can_be_read(readable: set[int], unreadable: set[int], last: int) -> None:
    newest = max(readable | unreadable)
    index = Index(readable, unreadable, newest)
    found = await HubChunks(index.ask, newest).last()
    assert found.sequence == last and index.asked < 30
    if newest > 9:
        with pytest.raises(Unreachable):
            await HubChunks(Index(readable, unreadable, newest - 1).ask, newest).last()


async def test_an_answer_of_later_than_the_newest_chunk() -> None:
    with pytest.raises(Unreachable, match="not of one time"):
        await HubChunks(Index({1, 9}, set(), 9).ask, newest=8).at(2)


def test_progress_comes_back_with_its_edges() -> None:
    found = wire.ChunkFound(
        sequence=4711, log=7, epoch=2, next=31, gaps=[(3, 9)], forwarded=21, dropped={"retention": 2}, edge=(30, 300),
        base=(1, 2, 20), sequences=[1, 1], times=[10, 10],
    )  # fmt: skip
    assert progress_of(found) == Progress(
        log=7, epoch=2, next=31, gaps=[(3, 9)], forwarded=21, dropped={"retention": 2}, edge=(30, 300),
        filled=Message(2, 20), base=(1, 2, 20),
    )  # fmt: skip
