"""The device's link to the hub: what its leaf and its heartbeats say of it, and who must know."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from edgeagent import wire
from edgeagent.assembly.deviceleaf import LeafConnections
from edgeagent.assembly.devicestatus import StatusKeeper
from edgeagent.assembly.hubmove import HubMove
from edgeagent.assembly.linkrepair import LinkRepair
from edgeagent.assembly.renewer import Renewer
from edgeagent.errors import EdgeError
from edgeagent.identity import Identity
from edgeagent.leaf.hubchoice import HubChoice
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.uplink import Uplink
from edgeagent.patterns.config import Configuration
from edgeagent.patterns.events import Events
from edgeagent.patterns.report import Reporter
from edgeagent.runtime import Tasks
from edgeagent.settings import Settings

__all__ = ["DeviceLink", "Parts"]

log = logging.getLogger("edgeagent")


class Parts(Protocol):
    """The parts of an agent that have to do with its link."""

    leaf: Leaf
    links: LeafConnections
    renewer: Renewer
    reporter: Reporter
    status: StatusKeeper
    events: Events
    tasks: Tasks
    settings: Settings
    identity: Identity
    hubs: HubChoice
    configuration: Configuration


class DeviceLink:
    """Made when all of ``parts`` are there. on_came: awaited in a task of its own whenever the leaf reached the hub."""

    def __init__(self, parts: Parts, *, on_came: Callable[[], Awaitable[None]]) -> None:
        self._parts, self._on_came = parts, on_came
        self._uplink = Uplink(parts.links.system, self._changed, parts.renewer.link_refused)
        self._move = HubMove(parts, self._uplink, on_change=parts.status.hub_changed)
        self._repair = LinkRepair(
            parts.leaf,
            parts.links.system,
            self._uplink,
            is_visiting=lambda: parts.renewer.visiting or self._move.is_trying,
            tell=parts.events.tell,
            on_change=lambda: parts.status.link_repaired(self.repairs),
        )

    @property
    def repairs(self) -> wire.LinkRepairs | None:
        """What was done about links that looked up and carried nothing."""
        return self._repair.repairs

    @property
    def connected(self) -> bool | None:
        """Whether the leaf is connected to the hub; None: not known yet."""
        return self._uplink.connected

    @property
    def hub(self) -> wire.HubLink:
        """Where it leads."""
        return self._move.state

    def hub_wanted(self, entries: list[str]) -> None:
        """What ``hub.urls`` is now."""
        self._move.wish(entries)

    async def start(self) -> None:
        self._parts.tasks.start("hub", self._move.keep())
        self._parts.tasks.start("link repair", self._repair.keep())
        await self._uplink.start()

    def look(self) -> None:
        """Ask the leaf: when it was restarted, it may have linked before we listened again."""
        self._parts.tasks.start("look at the link", self._look())

    async def _look(self) -> None:
        await self._uplink.look()

    def tried(self, error: EdgeError | None) -> None:
        """A heartbeat was acknowledged, or not; as Reporter's ``on_link``."""
        self._parts.status.link_tried(error)
        self._repair.tried(error)
        self._move.tried(error)
        if error is None and not self._uplink.connected:  # the leaf's word that it is linked was sent before we listened
            self.look()

    def _changed(self, connected: bool) -> None:
        parts = self._parts
        parts.renewer.link_changed(connected)
        self._move.link_changed(connected=connected)
        if parts.renewer.visiting:
            return  # a link that is good for renewing the credentials, and nothing else
        log.info("the leaf is %s the hub", "linked to" if connected else "cut off from")
        if connected:
            self._repair.came()
            parts.reporter.link_changed()
            parts.tasks.start("link came", self._came())
        else:
            parts.status.link_lost()

    async def _came(self) -> None:
        await self._on_came()
