"""Sending samples to one target until they are taken, or found to be at fault themselves.

A wrong login or address, or a firewall that lets nothing through, refuses everything: then all of it waits until that is mended. A
firewall that does not like some words refuses only what contains them, with the same statuses, and would hold up everybody for ever. Which of the two it
is shows by a sample that was taken before, or may be: writing it again changes nothing (sinks), and where it is taken while the refused is
refused again, what was sent is at fault.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from edgeagent.chunk import Point
from edgeagent.hub.sinkspost import Answer, Attempts, Request, Verdict
from edgeagent.hub.sinkstally import Tally

__all__ = ["Delivery", "Points", "Send", "Target"]

#: After so many refusals of one request it is asked whether it is at fault.
DOUBT = 5
#: How often it must be refused again after others were taken, and how many of these at most each time: by chance, since a balancer may
#: give every second or third request to a server that refuses all.
PROOF, WITNESSES = 3, 3
#: How many samples of those that wait are tried alone, where none was taken before.
TRIALS = 8

Points = Sequence[tuple[str, Point]]
#: Posts a request until it was taken or refused for ever.
Send = Callable[[Callable[[], Request]], Awaitable[Answer]]


class Target(Protocol):
    """Where samples go. name: for people, and part of the consumer's name."""

    name: str

    async def write(self, points: Points, send: Send, tally: Tally) -> None:
        """Write them all, or count in ``tally`` what was refused."""
        ...

    def request(self, points: Points) -> Request:
        """What brings them all. Raises EdgeError for a file that cannot be used."""
        ...

    def judge(self, answer: Answer) -> Verdict:
        """What an answer means."""
        ...


class Delivery:
    """To one target, in the order of the calls."""

    def __init__(self, target: Target, attempts: Attempts) -> None:
        self._target, self._attempts = target, attempts
        self._witness: tuple[str, Point] | None = None
        self._points: Points = ()
        self._suspected = False

    async def write(self, points: Points, tally: Tally) -> None:
        """Until each of them is taken, or counted as refused."""
        self._points, self._suspected, before = points, False, tally.dropped["refused"]
        await self._target.write(points, self._send, tally)
        if tally.dropped["refused"] == before:
            self._witness = points[-1]

    async def _send(self, make: Callable[[], Request]) -> Answer:
        refusals = 0
        while True:
            found, answer = await self._attempts.once(make)
            if answer is not None and found is not Verdict.LATER:
                return answer
            if answer is not None and answer.of_content:
                refusals += 1
                asked = self._suspected or refusals % DOUBT == 0
                if asked and (settled := await self._settled(make)) is not None:
                    self._suspected = True  # the parts of it need no patience any more
                    self._attempts.right()
                    return settled
            await self._attempts.pause()

    async def _settled(self, make: Callable[[], Request]) -> Answer | None:
        """The answer that it will always have, or that takes it after all; None: nobody knows yet."""
        answer = None
        for _ in range(PROOF):
            for _ in range(random.randint(1, WITNESSES)):
                if not await self._is_anything_taken():
                    return None
            found, answer = await self._attempts.trial(make)
            if answer is None or found is not Verdict.LATER or not answer.of_content:
                return answer if found is not Verdict.LATER else None
        return answer

    async def _is_anything_taken(self) -> bool:
        if self._witness is not None:
            return await self._is_taken(self._witness)
        for one in _firsts(self._points):
            if await self._is_taken(one):
                self._witness = one
                return True
        return False

    async def _is_taken(self, one: tuple[str, Point]) -> bool:
        """Or refused for what it says, such as being too old by now: then it came as far as everything else would."""
        found, _ = await self._attempts.trial(lambda: self._target.request([one]))
        return found is not Verdict.LATER


def _firsts(points: Points) -> Points:
    """Some of them, as different as can be; of each series the first, since what is older than the newest may not be taken afterwards."""
    found: dict[tuple[str, str], tuple[str, Point]] = {}
    for device, point in points:
        found.setdefault((device, point.sample.metric), (device, point))
    return list(found.values())[:: max(1, -(-len(found) // TRIALS))]
