"""What the hub decided about this device, as it was last read: kept for the next start, which may be without a link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from edgeagent import files, wire
from edgeagent.assembly.devicecommands import DeviceCommands
from edgeagent.assembly.devicetrust import TRUST_KEYS, DeviceTrust, sources
from edgeagent.assembly.renewer import Renewer
from edgeagent.direct import Stored
from edgeagent.documents import Follower
from edgeagent.errors import EdgeError
from edgeagent.leaf.leaf import Leaf
from edgeagent.link import Client
from edgeagent.patterns import config
from edgeagent.patterns.commandfollowers import CommandFollowers
from edgeagent.patterns.config import Configuration
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
    """Follows what the hub says of this device, whom to trust, what the configuration is and what is commanded, and acts on it;
    sends events.

    on_labels: called when the labels are others.
    """

    def __init__(
        self,
        client: Client,
        device_id: str,
        settings: Settings,
        leaf: Leaf,
        renewer: Renewer,
        configuration: Configuration,
        commands: DeviceCommands,
        events: Events,
        *,
        on_labels: Callable[[], None],
    ) -> None:
        self._client, self._settings, self._renewer, self._on_labels = client, settings, renewer, on_labels
        self._id, self._record = device_id, last_record(settings.state_folder)
        self._configuration, self._commands, self._events = configuration, commands, events
        self._trust = DeviceTrust(
            settings.state_folder,
            on_record=self._take_record,
            on_signers=self._look_at_refused,
            on_authorities=leaf.redial,
            tell=events.tell,
        )
        self._follower = Follower(client, self._changed, every_seconds=settings.agent.documents_seconds)
        self._logs = CommandFollowers(client, commands.changed, every_seconds=settings.agent.documents_seconds)

    @property
    def labels(self) -> dict[str, str]:
        return labels(self._settings, self._record)

    def set_settings(self, settings: Settings) -> None:
        """What agent.toml and the configuration say now: of the labels, and how often to look unasked."""
        self._settings = settings
        self._follower.set_every(settings.agent.documents_seconds)
        self._logs.set_every(settings.agent.documents_seconds)

    async def start(self, tasks: Tasks, groups: Iterable[str]) -> None:
        """Follow and send from now on, until ``tasks`` are closed."""
        await self.set_groups(groups)
        self._commands.start(tasks)
        tasks.start("documents", self._follower.run())
        self._logs.start(tasks)
        tasks.start("events", self._events.run(self._client))

    async def set_groups(self, groups: Iterable[str]) -> None:
        """Follow the documents of these groups."""
        # Whom to trust first: it decides what the configuration is worth. The commands wait for nothing.
        await self._follower.set_sources([*sources(self._id), *config.sources(self._id, groups)])
        await self._logs.set_sources(self._commands.sources(groups))
        self._look_at_refused()

    async def close(self) -> None:
        await self._follower.close()
        await self._logs.close()

    def link_came(self) -> None:
        """The hub can be reached (again)."""
        self._commands.link_came()
        self._follower.link_came()
        self._logs.link_came()
        self._events.link_came()

    async def look_at_signers(self) -> None:
        """Read who may sign, now. Raises Unreachable when the hub does not answer."""
        await self._trust.look_at_signers(self._client)

    async def _changed(self, key: str, stored: Stored | None) -> None:
        if key in TRUST_KEYS:
            await self._trust.changed(key, stored)
        elif await self._configuration.changed(key, stored):
            self._look_at_refused()

    def _look_at_refused(self) -> None:
        """What was refused may be followed now."""
        self._follower.again(self._configuration.refused())

    async def _take_record(self, record: wire.DeviceRecord) -> None:
        before, self._record = self._record, record
        if before is None or before.labels != record.labels:
            self._on_labels()
        if before != record:
            path = self._settings.state_folder / RECORD_FILE
            await asyncio.to_thread(files.write_atomic, path, wire.encode(record), 0o600)
        await self._renewer.record_changed(record)
