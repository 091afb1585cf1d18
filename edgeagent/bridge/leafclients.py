"""Who is connected to the leaf by MQTT just now, as the leaf's own system account tells it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from edgeagent.errors import EdgeError
from edgeagent.link import Client, request
from edgeagent.runtime import woken

__all__ = ["LeafClients", "users_in"]

log = logging.getLogger(__name__)

#: How often to look without being told, in seconds: events are lost while we are not connected.
LOOK_SECONDS = 60.0
#: At most one look in so many seconds.
QUIET_SECONDS = 0.2
#: Who comes so often in so many seconds is restless: two clients of one name end each other, a message that the leaf refuses ends its
#: connection and is sent again.
RESTLESS, WITHIN_SECONDS = 8, 60.0
#: More clients than these are not looked for.
MAX_CLIENTS = 1024


class _Connection(msgspec.Struct):
    authorized_user: str = ""
    mqtt_client: str = ""


class _Data(msgspec.Struct):
    connections: list[_Connection] = []


class _Answer(msgspec.Struct):
    data: _Data = msgspec.field(default_factory=_Data)


def users_in(answer: bytes) -> set[str]:
    """The users in an answer to CONNZ. Raises ValueError."""
    return {each.authorized_user for each in msgspec.json.decode(answer, type=_Answer).data.connections if each.mqtt_client}


class LeafClients:
    """system: a connection to the leaf's system account. account: that of MQTT. on_change: called with all users that are connected now."""

    def __init__(self, system: Client, account: str, on_change: Callable[[set[str]], None]) -> None:
        self._system, self._account, self._on_change = system, account, on_change
        self._changed = asyncio.Event()
        self._came: dict[str, deque[float]] = {}
        self._reasons: dict[str, str] = {}
        self.users: set[str] = set()

    async def run(self) -> None:
        """Watch for ever."""
        for event in ("CONNECT", "DISCONNECT"):
            await self._system.subscribe(f"$SYS.ACCOUNT.{self._account}.{event}", cb=self._heard)
        while True:
            await self._look()
            await asyncio.sleep(QUIET_SECONDS)
            await woken(self._changed, LOOK_SECONDS)

    def restless(self) -> dict[str, str]:
        """Users whose connection ends and comes again all the time, with nats-server's reason of the last end."""
        since = time.monotonic() - WITHIN_SECONDS
        often = [user for user, times in self._came.items() if len(times) == RESTLESS and times[0] > since]
        return {user: self._reasons.get(user, "") for user in often}

    async def _look(self) -> None:
        body = json.dumps({"acc": self._account, "auth": True, "limit": MAX_CLIENTS}).encode()
        try:
            answer = await request(self._system, "$SYS.REQ.SERVER.PING.CONNZ", body, what="ask the leaf for its MQTT clients")
            users = users_in(answer.data)
        except (EdgeError, ValueError) as error:
            log.debug("%s", error)
            return
        if users != self.users:
            self.users = users
            self._on_change(users)

    async def _heard(self, message: Any) -> None:
        self._changed.set()
        event = json.loads(message.data)
        user = str(event.get("client", {}).get("user", ""))
        if message.subject.endswith(".CONNECT"):
            self._came.setdefault(user, deque(maxlen=RESTLESS)).append(time.monotonic())
        else:
            self._reasons[user] = str(event.get("reason", ""))
