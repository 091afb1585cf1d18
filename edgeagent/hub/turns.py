"""Whose turn it is to write what several instances of the hub's services hear: the one beside the server that said it, else, later, anybody."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time

from edgeagent.hub.presence import Event
from edgeagent.runtime import woken

__all__ = ["Turns"]

#: How long those who are not beside the server wait, in seconds: between these, by chance.
OTHERS_SECONDS = (2.0, 4.0)


class Turns:
    """Events that wait for their turn.

    beside: the name of the server whose events are written at once; empty: none; None: all are. most: how many may wait.
    """

    def __init__(self, beside: str | None, most: int) -> None:
        self._beside, self._most = beside, most
        self._waiting: list[tuple[float, int, Event]] = []
        self._number, self._wake = itertools.count(), asyncio.Event()

    def is_ours(self, event: Event) -> bool:
        """Whether nobody else writes it in this moment."""
        return self._beside is None or event.server == self._beside

    def put(self, event: Event) -> bool:
        """Whether there was room for it."""
        if len(self._waiting) >= self._most:
            return False
        due = time.monotonic() + (0.0 if self.is_ours(event) else random.uniform(*OTHERS_SECONDS))
        heapq.heappush(self._waiting, (due, next(self._number), event))
        self._wake.set()
        return True

    async def get(self) -> Event:
        """The next one whose time has come."""
        while True:
            pause = self._waiting[0][0] - time.monotonic() if self._waiting else None
            if pause is not None and pause <= 0:
                return heapq.heappop(self._waiting)[2]
            await woken(self._wake, pause)
