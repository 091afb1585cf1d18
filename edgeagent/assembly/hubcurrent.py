"""When a server of a cluster has all that the others stored while it was away: only then may the next one be restarted.

Of three servers two must have what is to be written. nats-server hands over what it leads when it is ended (SIGTERM, 2.15.1: within 0.1 s),
but only one that has everything can take it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from edgeagent.assembly.hublogin import sign_in
from edgeagent.errors import EdgeError
from edgeagent.hub import streams
from edgeagent.hub.cluster import server_name
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.hub.serverping import ask_all
from edgeagent.link import Client, request

__all__ = ["has_all", "until_current"]

log = logging.getLogger("edgeagent.hub")

#: For so long a server that catches up is waited for, in seconds: systemd waits 330 s. And one without enough others, which may be made later.
MOST_SECONDS, ALONE_SECONDS = 300.0, 20.0
#: After that long it says that it waits, in seconds.
SAY_SECONDS = 10.0
#: How long one question may take, and the pause from look to look, in seconds.
ANSWER_SECONDS, LOOK_SECONDS = 2.0, 0.25
#: Who asks.
_SERVICES: tuple[Service, Service] = ("sys", "hub")
#: nats-server's word (``err_code``) for a stream that was not made yet: of a new cluster's, which waits for the last server.
_NO_SUCH_STREAM = 10059


async def until_current(place: HubFolder, keyring: Keyring) -> None:
    """Return when this folder's server has everything; or after its time, and then say so in the log."""
    loop, copies = asyncio.get_running_loop(), _Copies(place, keyring)
    began, said = loop.time(), False
    try:
        while lacks := await copies.lacking():
            waited = loop.time() - began
            if waited > (MOST_SECONDS if copies.has_enough_others else ALONE_SECONDS):
                log.warning("this server has not all that the others have (%s): restart no other one now", lacks)
                return
            if waited > SAY_SECONDS and copies.has_enough_others and not said:
                log.info("waits until this server has all that the others have: %s", lacks)
                said = True
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await copies.close()


def has_all(info: Mapping[str, Any], name: str) -> bool:
    """Whether the server ``name`` has all of a stream, by what the one that leads it says (``$JS.API.STREAM.INFO``). Pure."""
    if (info.get("error") or {}).get("err_code") == _NO_SUCH_STREAM:
        return True
    cluster = info.get("cluster") or {}
    copies = cluster.get("replicas") or []
    return cluster.get("leader") == name or any(copy.get("name") == name and copy.get("current") for copy in copies)


class _Copies:
    """What one server has. has_enough_others: whether those that were there last are a majority."""

    def __init__(self, place: HubFolder, keyring: Keyring) -> None:
        self._place, self._keyring, self._cluster = place, keyring, place.cluster()
        self._name = server_name(place.options().name, self._cluster)
        self._left = [stream.name for stream in streams.STREAMS]
        self._clients: list[Client] = []
        self.has_enough_others = False

    async def lacking(self) -> str:
        """What it lacks, empty: nothing. A stream that it had all of once counts: while something is written it is always a bit behind."""
        try:
            system, hub = await self._connected()
            return await self._unwell(system) or await self._behind(hub)
        except EdgeError as error:
            return str(error)

    async def _connected(self) -> tuple[Client, Client]:
        if any(client.is_closed for client in self._clients):
            await self.close()
        for service in _SERVICES[len(self._clients) :]:
            self._clients.append(await sign_in(self._place, self._keyring, service))
        return self._clients[0], self._clients[1]

    async def _unwell(self, system: Client) -> str:
        """What nats-server itself says of its health; it says also whether it knows of all that there is."""
        answers = await ask_all(system, "HEALTHZ", self._cluster.size, first=ANSWER_SECONDS)
        self.has_enough_others = len(answers) > self._cluster.size // 2
        own = answers.get(self._name, {}).get("data") or {}
        return "" if own.get("status") == "ok" else str(own.get("error") or own.get("status") or "it does not answer")

    async def _behind(self, hub: Client) -> str:
        infos = await asyncio.gather(*(self._info(hub, name) for name in self._left))
        self._left = [name for name, info in zip(self._left, infos, strict=True) if not has_all(info, self._name)]
        return ", ".join(self._left)

    async def _info(self, hub: Client, name: str) -> Any:
        what = f"look at the stream {name}"
        try:
            return json.loads((await request(hub, f"$JS.API.STREAM.INFO.{name}", what=what, timeout=ANSWER_SECONDS)).data)
        except (EdgeError, ValueError):
            return {}

    async def close(self) -> None:
        ending, self._clients = self._clients, []
        for client in ending:
            with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
                await client.close()
