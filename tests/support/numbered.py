"""Programs on devices that publish numbered samples and messages, and what must be true at the hub of each program.

A program cannot know of a message that was not acknowledged whether the leaf has it, so it takes the next number. At the end the hub
must have every number that was acknowledged, none twice, none that was never published, and in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import nats.errors
from nats.js.errors import Error as JetStreamError

from edgeagent import localsubjects
from edgeagent.errors import EdgeError
from edgeagent.link import Client, connect
from edgeagent.patterns.forwardchunks import METRICS, Kind

__all__ = ["Line", "problems", "publish"]

#: How long an acknowledgement of the leaf's may take, in seconds.
ACK_SECONDS = 1.0


@dataclass
class Line:
    """What one program did: how many numbers it has used, and which were acknowledged."""

    published: int = 0
    acknowledged: set[int] = field(default_factory=set)


async def publish(
    url: Callable[[], str], kind: Kind, line: Line, *, drawn: random.Random, apart: float, over: asyncio.Event
) -> None:
    """Publish until it is ``over``, through whatever becomes of the leaf. url: where that is now. apart: between two, a mean in seconds."""
    subject = localsubjects.local_metric("n") if kind is METRICS else localsubjects.local_data("n")
    while not over.is_set():
        with contextlib.suppress(OSError, EdgeError, nats.errors.Error, asyncio.TimeoutError):
            client = await connect(url(), what="measure", name="program", inbox_prefix="_INBOX.n", reconnect=False)
            try:
                await _write(client, subject, line, drawn, apart, over)
            finally:
                await client.close()
        await asyncio.sleep(0.05)


async def _write(client: Client, subject: str, line: Line, drawn: random.Random, apart: float, over: asyncio.Event) -> None:
    js = client.jetstream(timeout=ACK_SECONDS)
    while not over.is_set():
        number, line.published = line.published, line.published + 1
        try:
            await js.publish(subject, str(number).encode())
        except (nats.errors.Error, JetStreamError, asyncio.TimeoutError):
            if client.is_closed:
                return
        else:
            line.acknowledged.add(number)
        await asyncio.sleep(drawn.expovariate(1 / apart))


def problems(line: Line, found: Iterable[int]) -> list[str]:
    """What is wrong with what the hub has of a program. found: in the order of epoch and sequence."""
    found = list(found)
    missing = sorted(line.acknowledged - set(found))
    twice = sorted(number for number, count in Counter(found).items() if count > 1)
    unheard = sorted(set(found) - set(range(line.published)))
    disordered = [pair for pair in pairwise(found) if pair[0] > pair[1]]
    kinds = {"missing": missing, "twice": twice, "never published": unheard, "out of order": disordered}
    return [f"{len(what)} {name}, the first {what[:5]}" for name, what in kinds.items() if what]
