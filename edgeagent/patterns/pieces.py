"""Moves the pieces of a file over a link that is slow, or goes and comes back: several at once, each again until it is over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

from edgeagent.backoff import delays
from edgeagent.errors import Unreachable
from edgeagent.runtime import CANCEL_AGAIN_SECONDS
from edgeagent.transfer import Pace

__all__ = ["moved"]

Item = TypeVar("Item")
Found = TypeVar("Found")

#: How long to wait before a piece is tried again when nobody is there: first and longest, in seconds.
RETRY_SECONDS = (0.25, 5.0)


async def moved(
    items: Iterable[Item], move: Callable[[Item, float], Awaitable[Found]], *, tries: int | None = None
) -> AsyncGenerator[Found, None]:
    """What ``move(item, seconds)`` gives for each of ``items``, in their order; they are taken one by one, when it is their turn.

    It raises Unreachable when it did not get through within ``seconds``, and is called again then, ``tries`` times at most (None: for
    ever). Any other error ends it. Whoever does not read to the end closes it (``contextlib.aclosing``).
    """
    pace, left = Pace(), iter(items)
    under_way: deque[asyncio.Task[Found]] = deque()
    try:
        while True:
            while len(under_way) < pace.at_once:
                try:
                    item = next(left)
                except StopIteration:
                    break
                under_way.append(asyncio.create_task(_through(item, move, pace, tries), name="a piece of a file"))
            if not under_way:
                return
            yield await under_way[0]
            under_way.popleft()
    finally:
        await _end(set(under_way))


async def _end(tasks: set[asyncio.Task[Found]]) -> None:
    """Have them ended; again and again, as in :meth:`edgeagent.runtime.Tasks.close`."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # retrieved: the first error is the one that is told


async def _through(item: Item, move: Callable[[Item, float], Awaitable[Found]], pace: Pace, tries: int | None) -> Found:
    clock, pauses, failures = asyncio.get_running_loop().time, delays(*RETRY_SECONDS), 0
    while True:
        begun = clock()
        try:
            found = await move(item, pace.seconds)
        except Unreachable:
            failures += 1
            if failures == tries:
                raise
            pace.lost(clock() - begun)
            await asyncio.sleep(next(pauses))
        else:
            pace.arrived(clock() - begun)
            return found
