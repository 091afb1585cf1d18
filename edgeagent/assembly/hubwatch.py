"""What watches the hub while it runs, and says so: its own events, what nats-server complains of, its store, and its health."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.assembly import storefindings
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.hubhealth import HubHealth
from edgeagent.hub.alarmwatch import AlarmWatch
from edgeagent.hub.cluster import Cluster
from edgeagent.hub.ownevents import OwnEvents
from edgeagent.hub.storekeeper import Beside, StoreKeeper
from edgeagent.hub.storevoice import StoreVoice
from edgeagent.link import Client
from edgeagent.runtime import Tasks

__all__ = ["HubWatch"]


class HubWatch:
    """system, hub: connections to SYS and HUB. trouble: another one to SYS, which whoever tries logins may fill. requests: another one to HUB, on
    which others' requests come in. beside: the nats-server that is ours; None: there is none.

    events: whoever has something to say tells it there. health: what somebody knows of how the hub is, he adds there.
    """

    def __init__(
        self, system: Client, hub: Client, *, trouble: Client, requests: Client, cluster: Cluster, beside: Beside | None
    ) -> None:
        self.events, self._size = OwnEvents(hub), cluster.size
        self._alarms = AlarmWatch(trouble, hub, self.events)
        self.health = HubHealth(system, hub, cluster, self._alarms)
        voice, tell = StoreVoice(requests), self.events.tell
        self.store = StoreKeeper(system, hub, voice, tell, beside=beside, servers=cluster.size)
        self.health.known["store"] = self._known_of_the_store
        self.store.on_change = self.health.look_again

    async def start(self, tasks: Tasks) -> None:
        """Listen, and go on in ``tasks``. Raises EdgeError."""
        await self._alarms.start()
        tasks.start("own events", self.events.run())
        tasks.start("alarms", self._alarms.run())
        tasks.start("health", self.health.run())
        tasks.start("store", self.store.run())

    def _known_of_the_store(self) -> Iterator[Finding]:
        if self.store.disk is not None:
            yield storefindings.disk(self.store.disk)
        yield from storefindings.takes(self.store.seen, self._size)
