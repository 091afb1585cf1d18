"""The nats-server of a hub's folder, or those of a cluster's folders, that nobody but ourselves can reach: to read or fill their store
while the hub does not run.

They listen on the loopback interface at ports that are in no configuration, and take no devices and no websockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence

import msgspec

from edgeagent import files
from edgeagent.assembly.hubserver import HubServer
from edgeagent.backoff import delays
from edgeagent.errors import EdgeError, Failed
from edgeagent.hub import snapshots
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.cluster import ALONE, Cluster
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.link import Client, connect, request
from edgeagent.natsserver import ports
from edgeagent.trust import creds

__all__ = ["PrivateHub", "private"]

#: How long the servers of a cluster may take to agree who leads, in seconds; usual are 4 to 10.
ELECTION_SECONDS = 60.0
#: How long one answer may take, in seconds: who is asked before anybody leads keeps silent, and must be asked again.
ANSWER_SECONDS = 1.0
#: How long the others may take over a copy of a stream that does not grow, in seconds.
COPY_SECONDS = 600.0
_PAUSES = (0.1, 1.0)


class PrivateHub:
    """port: for clients. size: how many servers there are."""

    def __init__(self, port: int, keyring: Keyring, size: int) -> None:
        self._port, self._keyring, self.size = port, keyring, size

    @contextlib.asynccontextmanager
    async def connected(self, service: Service) -> AsyncIterator[Client]:
        """A connection as one of the hub's services."""
        client = await connect(
            f"nats://{ports.HOST}:{self._port}",
            what="reach the hub's nats-server",
            name=f"edgeagent backup ({service})",
            inbox_prefix=f"_INBOX.{service}",
            jwt=creds.callbacks(self._keyring.service_credentials(service)),
        )
        try:
            yield client
        finally:
            with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
                await client.close()

    async def elected(self, hub: Client) -> None:
        """Wait until JetStream answers. Raises EdgeError when it never does."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ELECTION_SECONDS
        for pause in delays(*_PAUSES):
            try:
                await snapshots.names(hub, timeout=ANSWER_SECONDS)
                return
            except EdgeError:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(pause)

    async def copied(self, hub: Client, stream: str) -> None:
        """Wait until every server has all of a stream. Raises EdgeError when one does not get there."""
        if self.size == 1:
            return
        what, loop = f"copy the stream {stream} to every server", asyncio.get_running_loop()
        deadline = loop.time() + COPY_SECONDS
        for pause in delays(*_PAUSES):
            answer = await request(hub, f"{PREFIX}.STREAM.INFO.{stream}", what=what, timeout=30)
            cluster = json.loads(answer.data).get("cluster") or {}
            replicas = cluster.get("replicas") or []
            if len(replicas) == self.size - 1 and all(one.get("current") and not one.get("lag") for one in replicas):
                return
            if loop.time() > deadline:
                raise Failed(what, f"not all of them had it after {COPY_SECONDS:g} s", "see server.log in each folder")
            await asyncio.sleep(pause)


@contextlib.asynccontextmanager
async def private(places: Sequence[HubFolder], options: HubOptions, keyring: Keyring) -> AsyncIterator[PrivateHub]:
    """Run them within the block, several as one cluster; the hub itself cannot be started meanwhile.

    Raises Refused when it runs, EdgeError.
    """
    numbers = [ports.pick() for _ in places]
    routes = [ports.pick() for _ in places]
    async with contextlib.AsyncExitStack() as stack:
        for number, place in enumerate(places, 1):
            stack.enter_context(files.Lock(place.lock, f"use the store of the hub in {place.path}"))
            alone = msgspec.structs.replace(
                options, listen=ports.HOST, client_port=numbers[number - 1], leaf_port=0, websocket_port=0, tls=""
            )
            cluster = _cluster(number, routes) if len(places) > 1 else ALONE
            await stack.enter_async_context(HubServer(place, alone, keyring, cluster, mortal=True))
        yield PrivateHub(numbers[0], keyring, len(places))


def _cluster(number: int, routes: list[int]) -> Cluster:
    return Cluster(number=number, port=routes[number - 1], routes=[f"{ports.HOST}:{port}" for port in routes])
