"""Storing just once behind a fence where the first try had no answer: another one, and a look at who was first.

A stream of a cluster is silent while its servers elect who leads it. One that meets a full disk says nothing to that very message, and the
hub's services answer in its place a moment later. Both have an answer for whoever asks again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from edgeagent import subjects
from edgeagent.direct import read_first
from edgeagent.errors import StoreFull, Unreachable
from edgeagent.link import Client
from edgeagent.patience import clustered, patiently
from edgeagent.publish import ACK_TIMEOUT_SECONDS, published_if

__all__ = ["stored_if"]

#: Where the hub is one server: how long the first try waits for its answer, and how long both may take, in seconds.
FIRST_SECONDS, ALL_SECONDS = 2.0, 5.0
#: How often a copy that may lag behind is asked for what came behind the fence, and the pause between, in seconds: what refused us has it.
LOOKS, LOOK_SECONDS = 40, 0.25


async def stored_if(
    client: Client, subject: str, data: bytes, sequence: int, *, stream: str, what: str, prefix: str = subjects.API_PREFIX
) -> int | None:
    """:func:`edgeagent.publish.published_if`, twice if need be; in a cluster again and again while no server leads ``stream``.

    data: nobody else writes the same, or it does not matter who did. prefix: of the JetStream API, as this client may use it.
    Raises StoreFull when the hub's store is full, Unreachable when nobody answered: then it may be stored all the same.
    """
    tries = 0

    async def store(seconds: float) -> int | None:
        nonlocal tries
        tries += 1
        return await published_if(client, subject, data, sequence, what=what, timeout=seconds)

    stored = await (patiently(client, store, timeout=ACK_TIMEOUT_SECONDS) if clustered(client) else _twice(store))
    return await _ours(client, stream, subject, data, sequence, prefix, what) if stored is None and tries > 1 else stored


async def _twice(store: Callable[[float], Awaitable[int | None]]) -> int | None:
    began = time.monotonic()
    try:
        return await store(FIRST_SECONDS)
    except StoreFull:
        raise
    except Unreachable:
        await asyncio.sleep(max(0.0, began + FIRST_SECONDS - time.monotonic()))  # nobody there: as long as for no answer
    return await store(max(1.0, began + ALL_SECONDS - time.monotonic()))


async def _ours(client: Client, stream: str, subject: str, data: bytes, sequence: int, prefix: str, what: str) -> int | None:
    """The sequence of what came first behind the fence, if it is ``data``: an earlier try was stored, and its acknowledgement lost.

    None: it is another's. Raises Unreachable when nobody can say.
    """
    for _ in range(LOOKS):
        first = await read_first(client, stream, subject, sequence + 1, prefix=prefix)
        if first is not None:
            return first.sequence if first.data == data else None
        await asyncio.sleep(LOOK_SECONDS)
    raise Unreachable(what, "the hub's servers do not agree yet about what is stored", "look before you do it again")
