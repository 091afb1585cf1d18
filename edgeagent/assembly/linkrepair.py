"""Ends a link that looks up but carries no answers, so that the leaf dials the hub anew.

A server can take a leaf's subscriptions away without closing its link: nats-server 2.15.1 does when another account's exports or
signing keys change. The leaf then stays connected, and deaf, for as long as nobody acts.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

from edgeagent.backoff import delays
from edgeagent.link import Client, request

__all__ = ["LinkDoubt", "end_link"]

log = logging.getLogger(__name__)

#: Between two repairs: when the hub itself is ill, dialling does not mend it, and a whole fleet must not do it in step.
FIRST_SECONDS, CAP_SECONDS = 30.0, 900.0
#: A link that has worked may be slow for a moment; one that never has is doubted at once.
FAILURES_OF_A_PROVEN_LINK = 2


class LinkDoubt:
    """Whether the link should be ended, told by heartbeats; pure but for the clock. clock: monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures, self._proven = 0, False
        self._not_before = float("-inf")
        self._delays = delays(FIRST_SECONDS, CAP_SECONDS, jitter=0.5)

    def came(self) -> None:
        """The leaf connected to the hub."""
        self._failures, self._proven = 0, False

    def acknowledged(self) -> None:
        """The hub answered."""
        self._failures, self._proven = 0, True
        self._not_before = float("-inf")
        self._delays = delays(FIRST_SECONDS, CAP_SECONDS, jitter=0.5)

    def failed(self) -> bool:
        """No answer came over a link that looks up; True when it should be ended now."""
        self._failures += 1
        now = self._clock()
        if self._failures < (FAILURES_OF_A_PROVEN_LINK if self._proven else 1) or now < self._not_before:
            return False
        self._not_before = now + next(self._delays)
        return True


async def end_link(system: Client) -> None:
    """End the leaf's connections to the hub; it dials again by itself. Local programs do not notice.

    system: a connection to the leaf's system account. Raises EdgeError when the leaf can't be asked.
    """
    answer = await request(system, "$SYS.REQ.SERVER.PING.LEAFZ", b"{}", what="ask the leaf for its link")
    found = json.loads(answer.data)
    for leaf in found.get("data", {}).get("leafs") or []:
        log.warning("the hub acknowledges nothing although the leaf is linked: the leaf dials it anew")
        body = json.dumps({"cid": leaf["id"]}).encode()
        await request(system, f"$SYS.REQ.SERVER.{found['server']['id']}.KICK", body, what="end the leaf's link")
