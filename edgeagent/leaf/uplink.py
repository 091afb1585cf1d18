"""Whether the leaf is connected to the hub, as the leaf's own system account tells it (within some 20 ms)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from edgeagent.errors import EdgeError, Unreachable
from edgeagent.leaf.conf import ACCOUNT
from edgeagent.link import Client, request

__all__ = ["Uplink", "ask_hub"]

log = logging.getLogger(__name__)

#: How soon to ask again where nobody listens, in seconds.
AGAIN_SECONDS = 0.1


class Uplink:
    """Calls ``on_change(connected)`` when the leaf's connection to the hub comes or goes.

    on_refused: called when one ended before it was good: whoever took it did not let the leaf in.
    system: a connection to the leaf's system account. "Connected" is not yet proof that the link works end to end; the
    acknowledged heartbeat is.
    """

    def __init__(self, system: Client, on_change: Callable[[bool], None], on_refused: Callable[[], None] = lambda: None) -> None:
        self._system, self._on_change, self._on_refused = system, on_change, on_refused
        self.connected: bool | None = None
        #: The connection, as the last look saw it; empty: there was none. Another one has another, also after the leaf began anew.
        self.link_id = ""

    async def start(self) -> None:
        for event in ("CONNECT", "DISCONNECT"):
            await self._system.subscribe(f"$SYS.ACCOUNT.{ACCOUNT}.{event}", cb=self._heard)
        await self.look()

    async def look(self) -> bool | None:
        """Ask the leaf now whether it is linked: after we (re)connected to it, events may have been missed. None: it does not say."""
        try:
            answer = await request(self._system, "$SYS.REQ.SERVER.PING.LEAFZ", b"{}", what="ask the leaf for its link")
            found = json.loads(answer.data)
            leafs = found.get("data", {}).get("leafs") or []
        except EdgeError as error:
            log.debug("%s", error)
            return None
        self.link_id = f"{found['server']['id']}:{leafs[0]['id']}" if leafs else ""
        self._set(bool(leafs))
        return bool(leafs)

    async def _heard(self, message: Any) -> None:
        event = json.loads(message.data)
        client = event.get("client", {})
        if client.get("kind") != "Leafnode":
            return
        came = message.subject.endswith(".CONNECT")
        # nats-server tells of the end also where it never told of a beginning. This is its word when the other side sends an error; a
        # dial that only broke off has another one.
        if not came and not self.connected and event.get("reason") == "Client Closed":
            self._on_refused()
        self._set(came)

    def _set(self, connected: bool) -> None:
        if connected != self.connected:
            self.connected = connected
            self._on_change(connected)


async def ask_hub(client: Client, subject: str, data: bytes, *, what: str, timeout: float = 10.0) -> bytes:
    """The answer of a service of the hub, also right after the link came, when the hub is still telling who listens there.

    client: a connection to the leaf. timeout: seconds in all. Raises EdgeError, as :func:`edgeagent.link.request`.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    while True:
        try:
            answer = await request(client, subject, data, what=what, timeout=max(AGAIN_SECONDS, deadline - clock()))
            return bytes(answer.data)
        except Unreachable:
            if clock() >= deadline - AGAIN_SECONDS:
                raise
        await asyncio.sleep(AGAIN_SECONDS)
