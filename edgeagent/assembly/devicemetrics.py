"""Metrics and messages on a device, put together: the local streams, what fills them, and the forwarder to the hub."""

from __future__ import annotations

import asyncio
import logging

from edgeagent.backoff import delays
from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.patterns import localstore
from edgeagent.patterns.forwardchunks import DATA, METRICS, Kind
from edgeagent.patterns.forwarder import Forwarder, Tell
from edgeagent.patterns.pace import Pace
from edgeagent.runtime import Tasks, jittered
from edgeagent.settings import Settings
from edgeagent.status import ForwardStatus

__all__ = ["DeviceMetrics"]

log = logging.getLogger("edgeagent")

#: Bounds of the pause after the local streams could not be made, in seconds.
RETRY_SECONDS = (0.5, 30.0)


class DeviceMetrics:
    """The metrics and messages of one device.

    client: to the leaf. wanted: the settings with the configuration that counts now. tell: as :meth:`Events.tell`.
    """

    def __init__(self, client: Client, device_id: str, wanted: Settings, *, tell: Tell) -> None:
        self._client, self._wanted, self._pace = client, wanted, Pace(wanted.forward.bytes_per_second)
        self._forwarders = {kind.name: self._forwarder(device_id, kind, tell) for kind in (METRICS, DATA)}

    def _forwarder(self, device_id: str, kind: Kind, tell: Tell) -> Forwarder:
        hint = self._wanted.state_folder / f"forward-{kind.name}.json"
        return Forwarder(self._client, device_id, kind, self._wanted.forward, hint=hint, tell=tell, pace=self._pace)

    def start(self, tasks: Tasks) -> None:
        """Keep and forward from now on, until ``tasks`` are closed."""
        tasks.start("local store", self._run(tasks))

    def forwarding(self) -> dict[str, ForwardStatus]:
        """How far it has come with what is forwarded: ``metric`` and ``data``."""
        return {name: forwarder.status() for name, forwarder in self._forwarders.items()}

    def set_settings(self, wanted: Settings) -> None:
        """Go on with these."""
        self._wanted = wanted
        self._pace.bytes_per_second = wanted.forward.bytes_per_second
        for forwarder in self._forwarders.values():
            forwarder.set_settings(wanted.forward)

    def link_came(self) -> None:
        """The hub can be reached (again)."""
        for forwarder in self._forwarders.values():
            forwarder.link_came()

    async def _run(self, tasks: Tasks) -> None:
        await self._ensure()
        for forwarder in self._forwarders.values():
            forwarder.start(tasks)

    async def _ensure(self) -> None:
        js = self._client.jetstream()
        for pause in delays(*RETRY_SECONDS):
            try:
                await localstore.ensure(js, self._wanted.leaf.store_max_bytes)
                return
            except EdgeError as error:
                log.warning("%s", error)
                await asyncio.sleep(jittered(pause))
