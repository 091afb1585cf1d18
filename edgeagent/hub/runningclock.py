"""A clock that goes no faster than the hub runs: for what must not be forgotten because the system's clock jumped.

It stands still while the hub is off and is never ahead of the system's. So what is forgotten by it is forgotten late, never early,
however far and for however long the system's clock is wrong, if only it was right when the bucket was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from edgeagent.hub.bucket import Bucket
from edgeagent.hub.streams import REVOCATIONS_BUCKET
from edgeagent.link import Client

__all__ = ["KEEP_SECONDS", "RunningClock"]

#: How often it is written down, in seconds. A restart puts it back by as much.
KEEP_SECONDS = 3600.0
#: No account is called so.
_KEY = "clock"


class _Kept(msgspec.Struct):
    """seconds: Unix. until: none: so that older software takes it for a revocation of nothing."""

    seconds: int
    until: int = 0


class RunningClock:
    """hub: a connection to the account HUB. now: Unix seconds. monotonic: seconds."""

    def __init__(
        self, hub: Client, *, now: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._bucket = Bucket(hub, REVOCATIONS_BUCKET, _Kept)
        self._now, self._monotonic = now, monotonic
        self._base: float | None = None
        self._began = 0.0

    async def time(self) -> float:
        """Unix seconds. Raises EdgeError when the store does not answer."""
        if self._base is None:
            found = await self._bucket.find(_KEY)
            self._base, self._began = float(found[0].seconds) if found else self._now(), self._monotonic()
            if not found:
                await self._keep(self._base)
        passed = self._monotonic() - self._began
        judged = min(self._now(), self._base + passed)
        if passed >= KEEP_SECONDS:
            self._base, self._began = judged, self._began + passed
            await self._keep(judged)
        return judged

    async def _keep(self, judged: float) -> None:
        """Another instance may have kept a later time, which counts unless it has not come yet."""

        def made(kept: _Kept | None) -> _Kept | None:
            return None if kept and judged <= kept.seconds <= self._now() else _Kept(seconds=int(judged))

        await self._bucket.change(_KEY, made, what="note how long the hub has run")
