"""NATS's own service protocol (ADR-32): with it ``nats micro ls`` lists the agents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edgeagent import __version__
from edgeagent.link import Client

if TYPE_CHECKING:
    from nats.micro.service import Service

__all__ = ["Micro"]


class Micro:
    """Answers ``$SRV.PING``, ``$SRV.INFO`` and ``$SRV.STATS`` for the agent of ``device_id``, while it is switched on.

    It is nine subscriptions and an answer to everybody who asks; right for hundreds of devices, not for thousands.
    """

    def __init__(self, client: Client, device_id: str) -> None:
        self._client, self._id = client, device_id
        self._service: Service | None = None
        self._switching = asyncio.Lock()

    async def switch(self, *, on: bool) -> None:
        """Answer from now on, until the connection is closed, or no more."""
        async with self._switching:
            if on and self._service is None:
                self._service = await self._start()
            elif not on and self._service is not None:
                service, self._service = self._service, None
                await service.stop()

    async def _start(self) -> Service:
        import nats.micro

        return await nats.micro.add_service(
            self._client,
            name="edgeagent",
            version=__version__,
            description="edgeagent on a device",
            metadata={"device": self._id},
        )
