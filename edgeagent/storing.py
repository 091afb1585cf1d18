"""Storing something just once where the first try had no answer: a second one behind the same fence, and a look at who was first.

A stream of the hub that meets a full disk says nothing to that very message, and the hub's services answer in its place a moment later;
a stream of a cluster is silent while it changes its leader. Both have an answer for whoever asks again.
"""

from __future__ import annotations

import asyncio
import time

from edgeagent import subjects
from edgeagent.direct import get_last
from edgeagent.errors import StoreFull, Unreachable
from edgeagent.link import Client
from edgeagent.publish import published_if

__all__ = ["stored_if"]

#: How long the first try waits for its answer, and how long both may take, in seconds.
FIRST_SECONDS, ALL_SECONDS = 2.0, 5.0


async def stored_if(
    client: Client, stream: str, subject: str, data: bytes, sequence: int, *, what: str, prefix: str = subjects.API_PREFIX
) -> int | None:
    """As :func:`edgeagent.publish.published_if`, with a second try. ``data`` must be no other writer's: it tells whose message is there.

    stream: where ``subject`` is kept. prefix: of the JetStream API, as the client sees it.
    Raises StoreFull when the hub's store is full, Unreachable when nobody answered twice: then it may be stored all the same.
    """
    began = time.monotonic()
    try:
        return await published_if(client, subject, data, sequence, what=what, timeout=FIRST_SECONDS)
    except StoreFull:
        raise
    except Unreachable:
        await asyncio.sleep(max(0.0, began + FIRST_SECONDS - time.monotonic()))  # nobody there: as long as for no answer
    left = max(1.0, began + ALL_SECONDS - time.monotonic())
    done = await published_if(client, subject, data, sequence, what=what, timeout=left)
    if done is not None:
        return done
    there = await get_last(client, stream, subject, prefix=prefix, marks=True)
    return there.sequence if there is not None and there.data == data else None
