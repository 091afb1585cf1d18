"""One action at a time, whoever asks for it: the hub's commands, and those on this side of it.

The two take turns: when one of a guest's has ended the host may go next, and the other way round, so that neither keeps the other away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Turn"]


class Turn:
    """The host takes what is free, and is told by ``on_left`` when a guest has left: it looks, and then calls :meth:`pass_on`. Guests
    wait in line."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.taken = False
        self.on_left: Callable[[], None] = self.pass_on

    def take(self) -> None:
        """For the host, when it is not taken."""
        assert not self.taken
        self.taken = True

    def leave(self) -> None:
        """Of the host."""
        self.taken = False
        self.pass_on()

    def pass_on(self) -> None:
        """To the guest who has waited longest, if it is free."""
        while self._waiting and not self.taken:
            first = self._waiting.popleft()
            if not first.done():
                self.taken = True
                first.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """For a guest: whether it is his within that time. Then he calls :meth:`left`."""
        if not self.taken:
            self.taken = True
            return True
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await asyncio.wait({mine}, timeout=seconds)
        except asyncio.CancelledError:
            if not mine.cancel():
                self.left()
            raise
        return not mine.cancel()

    def left(self) -> None:
        """Of a guest."""
        self.taken = False
        self.on_left()
