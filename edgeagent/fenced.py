"""Storing behind a fence for as long as a cluster elects, and knowing whether it was we when the first acknowledgement got lost."""

from __future__ import annotations

import asyncio

from edgeagent import subjects
from edgeagent.direct import read_first
from edgeagent.errors import Unreachable
from edgeagent.link import Client
from edgeagent.patience import patiently
from edgeagent.publish import ACK_TIMEOUT_SECONDS, published_if

__all__ = ["stored_if"]

#: How often a copy that may lag behind is asked for what came behind the fence, and the pause between, in seconds: what refused us has it.
LOOKS, LOOK_SECONDS = 40, 0.25


async def stored_if(
    client: Client, subject: str, data: bytes, sequence: int, *, stream: str, what: str, prefix: str = subjects.API_PREFIX
) -> int | None:
    """:func:`edgeagent.publish.published_if`, again and again while no server leads ``stream``. Raises as it does.

    data: nobody else writes the same, or it does not matter who did. prefix: of the JetStream API, as this client may use it.
    """
    doubtful = False

    async def store(seconds: float) -> int | None:
        nonlocal doubtful
        try:
            return await published_if(client, subject, data, sequence, what=what, timeout=seconds)
        except Unreachable:
            doubtful = True
            raise

    stored = await patiently(client, store, timeout=ACK_TIMEOUT_SECONDS)
    return await _ours(client, stream, subject, data, sequence, prefix, what) if stored is None and doubtful else stored


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
