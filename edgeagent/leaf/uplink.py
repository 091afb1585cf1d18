"""Whether the leaf is connected to the hub, as the leaf's own system account tells it (within some 20 ms)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from edgeagent.errors import EdgeError
from edgeagent.leaf.conf import ACCOUNT
from edgeagent.link import Client, request

__all__ = ["Uplink"]

log = logging.getLogger(__name__)


class Uplink:
    """Calls ``on_change(connected)`` when the leaf's connection to the hub comes or goes.

    system: a connection to the leaf's system account. "Connected" is not yet proof that the link works end to end; the
    acknowledged heartbeat is.
    """

    def __init__(self, system: Client, on_change: Callable[[bool], None]) -> None:
        self._system, self._on_change = system, on_change
        self.connected: bool | None = None

    async def start(self) -> None:
        for event in ("CONNECT", "DISCONNECT"):
            await self._system.subscribe(f"$SYS.ACCOUNT.{ACCOUNT}.{event}", cb=self._heard)
        await self.look()

    async def look(self) -> None:
        """Ask the leaf now: after we (re)connected to it, events may have been missed."""
        try:
            answer = await request(self._system, "$SYS.REQ.SERVER.PING.LEAFZ", b"{}", what="ask the leaf for its link")
            leafs = json.loads(answer.data).get("data", {}).get("leafs") or []
        except EdgeError as error:
            log.debug("%s", error)
            return
        self._set(bool(leafs))

    async def _heard(self, message: Any) -> None:
        client = json.loads(message.data).get("client", {})
        if client.get("kind") == "Leafnode":
            self._set(message.subject.endswith(".CONNECT"))

    def _set(self, connected: bool) -> None:
        if connected != self.connected:
            self.connected = connected
            self._on_change(connected)
