"""Connections for a check of `edgeagent hub doctor`, from another process than the hub's."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from edgeagent.assembly.hublogin import sign_in
from edgeagent.errors import EdgeError
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.link import Client

__all__ = ["connected"]


@contextlib.asynccontextmanager
async def connected(place: HubFolder, *services: Service) -> AsyncIterator[list[Client]]:
    """One as each of ``services``; none when nobody answers: a check of its own says so."""
    keyring, found = Keyring.load(place.path), list[Client]()
    try:
        with contextlib.suppress(EdgeError):
            for service in services:
                found.append(await sign_in(place, keyring, service))
        yield found if len(found) == len(services) else []
    finally:
        for client in found:
            with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
                await client.close()
