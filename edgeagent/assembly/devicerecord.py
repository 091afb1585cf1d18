"""What the hub decided about this device, as it was last read: kept for the next start, which may be without a link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from edgeagent import files, wire
from edgeagent.assembly.devicetrust import DeviceTrust, sources
from edgeagent.assembly.renewer import Renewer
from edgeagent.documents import Follower
from edgeagent.errors import EdgeError
from edgeagent.leaf.leaf import Leaf
from edgeagent.link import Client
from edgeagent.patterns.events import Events
from edgeagent.runtime import Tasks
from edgeagent.settings import Settings

__all__ = ["RECORD_FILE", "HubsWord", "labels", "last_record"]

log = logging.getLogger("edgeagent")

RECORD_FILE = "record.json"


def last_record(folder: Path) -> wire.DeviceRecord | None:
    """The device's record as it was last read; None when it never was, or when the file is damaged (it is read again)."""
    data = files.read_if_there(folder / RECORD_FILE)
    try:
        return wire.decode(data, wire.DeviceRecord) if data else None
    except EdgeError as error:
        log.warning("%s is damaged: %s", folder / RECORD_FILE, error.why)
        return None


def labels(settings: Settings, record: wire.DeviceRecord | None) -> dict[str, str]:
    """The device's labels. Its own settings go before what the hub gave it: last, or else when it enrolled."""
    return {**record.labels, **settings.device.labels} if record else settings.labels


class HubsWord:
    """Follows what the hub says of this device and of whom to trust, and acts on it; sends the device's events.

    on_labels: called when the labels are others.
    """

    def __init__(
        self, client: Client, device_id: str, settings: Settings, leaf: Leaf, renewer: Renewer, *, on_labels: Callable[[], None]
    ) -> None:
        self._settings, self._renewer, self._on_labels = settings, renewer, on_labels
        self._id, self._record = device_id, last_record(settings.state_folder)
        self.events = Events(client, device_id)
        trust = DeviceTrust(settings.state_folder, on_record=self._take_record, on_authorities=leaf.redial, tell=self.events.tell)
        self._follower = Follower(client, trust.changed)

    @property
    def labels(self) -> dict[str, str]:
        return labels(self._settings, self._record)

    async def start(self, tasks: Tasks) -> None:
        """Follow and send from now on, until ``tasks`` are closed."""
        await self._follower.set_sources(sources(self._id))
        tasks.start("documents", self._follower.run())
        tasks.start("events", self.events.run())

    async def close(self) -> None:
        await self._follower.close()

    def link_came(self) -> None:
        """The hub can be reached (again)."""
        self._follower.link_came()
        self.events.link_came()

    async def _take_record(self, record: wire.DeviceRecord) -> None:
        before, self._record = self._record, record
        if before is None or before.labels != record.labels:
            self._on_labels()
        if before != record:
            path = self._settings.state_folder / RECORD_FILE
            await asyncio.to_thread(files.write_atomic, path, wire.encode(record), 0o600)
        await self._renewer.record_changed(record)
