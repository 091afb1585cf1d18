"""Finding out at once that the server does not allow a request: it says so beside the request, which is then never answered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.patience import patiently
from edgeagent.publish import published_if

__all__ = ["check_may_store", "unless_forbidden"]

T = TypeVar("T")

#: How often to look whether the server has said meanwhile that it is not allowed, in seconds.
LOOK_SECONDS = 0.05
#: No stream ever comes to this sequence.
_NEVER = 1 << 62


async def unless_forbidden(client: Client, subject: str, work: Coroutine[Any, Any, T], refusal: EdgeError) -> T:
    """What ``work`` gives, which publishes on ``subject``. Raises ``refusal`` as soon as the server refuses that."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
            said = str(client.last_error or "").lower()
            if "permissions violation" in said and f'"{subject}"'.lower() in said:
                raise refusal
        return await task
    finally:
        task.cancel()


async def check_may_store(client: Client, subject: str, refusal: EdgeError) -> None:
    """Raise ``refusal`` unless the server would take something for ``subject``. Nothing is stored.

    Only the server knows what a role may. So it is asked to store nothing at all, behind a fence that can't hold.
    """

    async def ask(seconds: float) -> int | None:
        return await published_if(client, subject, b"", _NEVER, what=refusal.what, timeout=seconds)

    asking = patiently(client, ask)
    await unless_forbidden(client, subject, asking, refusal)
