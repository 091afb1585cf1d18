"""The nats-server of a hub's folder that nobody but ourselves can reach: to read or fill its store while the hub does not run.

It listens on the loopback interface at a port that is in no configuration, takes no devices and no websockets.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import msgspec

from edgeagent import files
from edgeagent.assembly.hubserver import HubServer
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.link import Client, connect
from edgeagent.natsserver import ports
from edgeagent.trust import creds

__all__ = ["PrivateHub", "private"]


class PrivateHub:
    """options: those with which it runs."""

    def __init__(self, options: HubOptions, keyring: Keyring) -> None:
        self._options, self._keyring = options, keyring

    @contextlib.asynccontextmanager
    async def connected(self, service: Service) -> AsyncIterator[Client]:
        """A connection as one of the hub's services."""
        client = await connect(
            f"nats://{ports.HOST}:{self._options.client_port}",
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


@contextlib.asynccontextmanager
async def private(place: HubFolder, options: HubOptions, keyring: Keyring) -> AsyncIterator[PrivateHub]:
    """Run it within the block; the hub itself cannot be started meanwhile. Raises Refused when it runs, EdgeError."""
    alone = msgspec.structs.replace(options, listen=ports.HOST, client_port=ports.pick(), leaf_port=0, websocket_port=0, tls="")
    with files.Lock(place.lock, f"use the store of the hub in {place.path}"):
        async with HubServer(place, alone, keyring):
            yield PrivateHub(alone, keyring)
