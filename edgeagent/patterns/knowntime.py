"""The time as far as it is known on a machine without a clock battery: the system's once something keeps it right, else the hub's.

Only what must not happen at a wrong time asks here: commands, which have an end. A hub that was broken into can say any time, so its word is
taken only where there is nothing better, and never for a time before the last that somebody signed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from edgeagent import subjects
from edgeagent.direct import get_last
from edgeagent.documents import LAG_SECONDS, LAG_TRIES
from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.runtime import jittered, woken

__all__ = ["KnownTime"]

log = logging.getLogger(__name__)

#: How old the hub's time may get before it is asked again, and how often to look while somebody waits, in seconds. Quartz that runs
#: 100 ppm wrong loses a third of a second in an hour.
GOOD_SECONDS, RETRY_SECONDS = 3600.0, 5.0


class KnownTime:
    """The time that this device knows.

    synchronized: whether the system's clock is kept right. floor: it is at least so late, Unix seconds. heartbeat: what to store on the hub to learn its time from: the agent's
    usual heartbeat. on_known: called when it became known.
    """

    def __init__(
        self,
        client: Client,
        device_id: str,
        *,
        synchronized: Callable[[], bool],
        floor: Callable[[], float],
        heartbeat: Callable[[], bytes],
        on_known: Callable[[], None],
    ) -> None:
        self._client, self._subject = client, subjects.heartbeat(device_id)
        self._synchronized, self._floor, self._heartbeat, self._on_known = synchronized, floor, heartbeat, on_known
        self._wake, self._wanted = asyncio.Event(), False
        self._ahead: float | None = None
        self._own_ahead: float | None = None
        self._asked = float("-inf")

    def now(self) -> float | None:
        """Unix seconds; None: not known (yet)."""
        own = self._own()
        if own is not None:
            return own
        return None if self._ahead is None else max(self._ahead + time.monotonic(), self._floor())

    def past(self) -> float:
        """A moment that is over for sure, Unix seconds, whatever the hub says: for what is forgotten for good. 0: none is known."""
        own = self._own()
        return min(time.time(), self._floor()) if own is None else own

    def _own(self) -> float | None:
        """The time by this machine's own clock, if it is kept right, or was since this process began: quartz does not jump."""
        if self._synchronized():
            self._own_ahead = time.time() - time.monotonic()
        return None if self._own_ahead is None else self._own_ahead + time.monotonic()

    def wanted(self) -> None:
        """Somebody waits for it."""
        if not self._wanted:
            self._wanted = True
            self._wake.set()

    def link_came(self) -> None:
        """The hub can be asked (again)."""
        self._asked = float("-inf")
        self._wake.set()

    async def run(self) -> None:
        """Learn it for ever, when it is needed."""
        while True:
            await woken(self._wake, jittered(RETRY_SECONDS if self._wanted else GOOD_SECONDS))
            if self._own() is not None or await self._is_fresh():
                self._wanted = False
                self._on_known()

    async def _is_fresh(self) -> bool:
        """Whether the hub's time was learnt lately; it is asked when it was not."""
        if time.monotonic() - self._asked > GOOD_SECONDS:
            try:
                await self._ask()
            except EdgeError as error:
                log.debug("the hub's time is not known: %s", error)
        return self._ahead is not None

    async def _ask(self) -> None:
        """Store something and see when the hub stored it. Raises EdgeError."""
        sent = time.monotonic()
        sequence = await published(self._client, self._subject, self._heartbeat())
        received = time.monotonic()
        for _ in range(LAG_TRIES):
            stored = await get_last(self._client, "EDGE_REPORTS", self._subject)
            if stored is not None and stored.sequence >= sequence:
                self._ahead, self._asked = stored.time.timestamp() - (sent + received) / 2, received
                return
            await asyncio.sleep(LAG_SECONDS)
