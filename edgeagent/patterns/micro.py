"""NATS's own service protocol (ADR-32): with it ``nats micro ls`` lists the agents."""

from __future__ import annotations

from edgeagent import __version__
from edgeagent.link import Client

__all__ = ["Micro"]


class Micro:
    """Answers ``$SRV.PING``, ``$SRV.INFO`` and ``$SRV.STATS`` for the agent of ``device_id``.

    enabled: nine subscriptions and an answer to everybody who asks; right for hundreds of devices, not for thousands.
    """

    def __init__(self, client: Client, device_id: str, *, enabled: bool) -> None:
        self._client, self._id, self._enabled = client, device_id, enabled

    async def start(self) -> None:
        """Answer from now on, until the connection is closed."""
        if not self._enabled:
            return
        import nats.micro

        await nats.micro.add_service(
            self._client,
            name="edgeagent",
            version=__version__,
            description="edgeagent on a device",
            metadata={"device": self._id},
        )
