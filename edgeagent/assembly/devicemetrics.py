"""Metrics and messages on a device, put together: the local streams, what fills them, and the forwarder to the hub."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from edgeagent.assembly.devicesampling import DeviceSampling
from edgeagent.assembly.devicestore import DeviceStore
from edgeagent.backoff import delays
from edgeagent.collectors import OwnState
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

    client: to the leaf. wanted: the settings with the configuration that counts now. store: says how large the streams may be, and when
    what is in them was stored. sampling: what the device measures itself. tell: as :meth:`Events.tell`. hub: gives where the link leads.
    """

    def __init__(
        self,
        client: Client,
        device_id: str,
        wanted: Settings,
        store: DeviceStore,
        sampling: DeviceSampling,
        *,
        tell: Tell,
        hub: Callable[[], str] = lambda: "",
    ) -> None:
        self._client, self._wanted, self._pace = client, wanted, Pace(wanted.forward.bytes_per_second)
        self._hub = hub
        self._store, self.sampling = store, sampling
        self._forwarders = {kind.name: self._forwarder(device_id, kind, tell) for kind in (METRICS, DATA)}
        sampling.forwarding, sampling.sampler.on_stored = self._own_state, self._stored

    def _forwarder(self, device_id: str, kind: Kind, tell: Tell) -> Forwarder:
        hint, clock = self._wanted.state_folder / f"forward-{kind.name}.json", self._store.clock
        return Forwarder(
            *(self._client, device_id, kind, self._wanted.forward),
            hint=hint,
            hub=self._hub,
            tell=tell,
            pace=self._pace,
            clock=clock,
        )

    def start(self, tasks: Tasks) -> None:
        """Keep and forward from now on, until ``tasks`` are closed."""
        tasks.start("local store", self._run(tasks))
        self.sampling.start(tasks)

    def forwarding(self) -> dict[str, ForwardStatus]:
        """How far it has come with what is forwarded: ``metric`` and ``data``."""
        return {name: forwarder.status() for name, forwarder in self._forwarders.items()}

    def _own_state(self) -> OwnState:
        """What became of the messages of both streams together, for the agent's own metrics."""
        found = list(self.forwarding().values())
        waiting = sum(each.waiting for each in found)
        if not all(each.known for each in found):
            return OwnState(waiting=waiting)
        dropped: Counter[str] = Counter()
        for each in found:
            dropped.update(each.dropped)
        return OwnState(waiting=waiting, forwarded=sum(each.forwarded for each in found), dropped=dropped)

    def _stored(self) -> None:
        if self._wanted.sampling.flush_seconds >= self._wanted.forward.seconds:
            self._forwarders[METRICS.name].hasten()

    def set_settings(self, wanted: Settings) -> None:
        """Go on with these."""
        self._wanted = wanted
        self.sampling.set_settings(wanted)
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
        for pause in delays(*RETRY_SECONDS):
            try:
                await localstore.ensure(self._client, self._store.limit.limit_bytes)
                return
            except EdgeError as error:
                log.warning("%s", error)
                await asyncio.sleep(jittered(pause))
