"""Asking a hub of several servers again while they elect who leads: what its operators and its services do must not fail meanwhile.

When a server dies, each stream that it led has no leader until the others have elected one: 4 to 9 s with nats-server 2.15.1. Meanwhile
a write finds nobody, or whoever took it is gone and keeps silent. Where the hub is one server nothing is asked again: what it does not
answer now it will not answer in a moment.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from edgeagent.errors import StoreFull, Unreachable
from edgeagent.link import Client, request

__all__ = ["PATIENCE_SECONDS", "Patience", "asked", "clustered", "patiently"]

T = TypeVar("T")

#: How long something is asked again, in seconds.
PATIENCE_SECONDS = 15.0
#: How long one of the tries may take, in seconds; the last counts for all further ones. A server that has died keeps silent.
TRY_SECONDS = (2.0, 3.0, 5.0)
#: After that long without an answer there is another try beside the first, in seconds: silence says nothing of when somebody leads again.
BESIDE_SECONDS = 1.0
#: The pause between two tries, in seconds: between half of it and all.
PAUSE_SECONDS = 0.4
#: nats-server's words (``err_code``) of a JetStream API that has no leader: not available, not the leader.
_LEADERLESS = (10008, 10009)


def clustered(client: Client) -> bool:
    """Whether the server at the other end is one of several. It said so when the connection was made."""
    return bool(client._server_info.get("cluster"))  # nats-py shows INFO nowhere else


class Patience:
    """How long one thing is tried, and how long each try may take. timeout: seconds, for one try; all that there is where the hub is one
    server."""

    def __init__(self, client: Client, timeout: float = TRY_SECONDS[-1]) -> None:
        self._client, self._timeout = client, timeout
        self.good()

    def good(self) -> None:
        """It worked; what comes now has all the time again."""
        self._tries, self._end = 0, asyncio.get_running_loop().time() + PATIENCE_SECONDS

    @property
    def seconds(self) -> float:
        """How long the next try may take."""
        if not clustered(self._client):
            return self._timeout
        return min(self._timeout, TRY_SECONDS[min(self._tries, len(TRY_SECONDS) - 1)])

    async def again(self) -> bool:
        """Whether to try again, after a pause."""
        over = asyncio.get_running_loop().time() >= self._end or self._client.is_closed
        if over or not clustered(self._client):
            return False
        self._tries += 1
        await asyncio.sleep(random.uniform(PAUSE_SECONDS / 2, PAUSE_SECONDS))
        return True


async def patiently(
    client: Client,
    ask: Callable[[float], Awaitable[T]],
    *,
    timeout: float = TRY_SECONDS[-1],
    beside: float | None = None,
    patience: float | None = None,
) -> T:
    """What ``ask`` gives first, which may be called several times, also while earlier calls still wait; it is told how long it may take, in
    seconds: ``timeout``.

    beside: after how long without an answer it is asked once more, in seconds; None: :data:`BESIDE_SECONDS`. patience: how long all of it may
    take, in seconds; None: :data:`PATIENCE_SECONDS`.
    Raises what ``ask`` raises: Unreachable only when the time is over, or at once when the hub is one server.
    """
    if not clustered(client):
        return await ask(timeout)
    loop, tries, problem = asyncio.get_running_loop(), set[asyncio.Future[T]](), None
    patience = PATIENCE_SECONDS if patience is None else patience
    last = loop.time() + max(patience - timeout, patience / 2)  # the last try begins before
    try:
        while True:
            over = problem is not None and (loop.time() >= last or client.is_closed)
            if not over:
                tries.add(asyncio.ensure_future(ask(timeout)))
            elif not tries and problem is not None:
                raise problem
            answered, tries = await asyncio.wait(
                tries,
                timeout=None if over else BESIDE_SECONDS if beside is None else beside,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for each in answered:
                problem = each.exception()
                if not isinstance(problem, Unreachable) or isinstance(problem, StoreFull):  # an answer
                    return each.result()
            if answered:
                await asyncio.sleep(random.uniform(PAUSE_SECONDS / 2, PAUSE_SECONDS))
    finally:
        for each in tries:
            each.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


async def asked(
    client: Client,
    subject: str,
    data: bytes = b"",
    *,
    what: str,
    timeout: float = TRY_SECONDS[-1],
    instead: Sequence[str] = (),
) -> Any:
    """:func:`edgeagent.link.request` for what may be asked twice, as all reading may. Raises as it does.

    instead: subjects that are as good, of which the next one is asked at each further try: another server may answer there.
    """
    subjects = itertools.cycle((subject, *instead))

    async def ask(seconds: float) -> Any:
        subject = next(subjects)
        answer = await request(client, subject, data, what=what, timeout=seconds)
        why = _leaderless(subject, answer.data)
        if why:
            raise Unreachable(what, why)
        return answer

    return await patiently(client, ask, timeout=timeout)


def _leaderless(subject: str, data: bytes) -> str:
    """Why a request to JetStream's API cannot be answered now, empty for an answer. What a Direct Get brings is somebody's data."""
    if ".DIRECT." in subject or b'"err_code"' not in data:
        return ""
    try:
        error = json.loads(data).get("error") or {}
        return str(error.get("description")) if error.get("err_code") in _LEADERLESS else ""
    except (ValueError, AttributeError):
        return ""
