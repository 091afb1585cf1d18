"""Metrics and messages on a device, put together: the local streams, what fills them, and the forwarder to the hub."""

from __future__ import annotations

import asyncio
import logging

from edgeagent.assembly.devicesampling import DeviceSampling
from edgeagent.backoff import delays
from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.patterns import localstore
from edgeagent.runtime import Tasks, jittered
from edgeagent.settings import Settings

__all__ = ["DeviceMetrics"]

log = logging.getLogger("edgeagent")

#: Bounds of the pause after the local streams could not be made, in seconds.
RETRY_SECONDS = (0.5, 30.0)


class DeviceMetrics:
    """The metrics and messages of one device.

    client: to the leaf. wanted: the settings with the configuration that counts now. sampling: what the device measures itself.
    """

    def __init__(self, client: Client, device_id: str, wanted: Settings, sampling: DeviceSampling) -> None:
        self._client, self._id, self._wanted, self.sampling = client, device_id, wanted, sampling

    def start(self, tasks: Tasks) -> None:
        """Keep and forward from now on, until ``tasks`` are closed."""
        tasks.start("local store", self._run())
        self.sampling.start(tasks)

    def set_settings(self, wanted: Settings) -> None:
        """Go on with these."""
        self._wanted = wanted
        self.sampling.set_settings(wanted)

    def link_came(self) -> None:
        """The hub can be reached (again)."""

    async def _run(self) -> None:
        await self._ensure()

    async def _ensure(self) -> None:
        js = self._client.jetstream()
        for pause in delays(*RETRY_SECONDS):
            try:
                await localstore.ensure(js, self._wanted.leaf.store_max_bytes)
                return
            except EdgeError as error:
                log.warning("%s", error)
                await asyncio.sleep(jittered(pause))
