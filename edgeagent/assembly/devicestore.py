"""The store on a device, put together: how large it may be, whether it takes messages, and when what is in it was stored."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.assembly.devicecommands import DeviceCommands
from edgeagent.assembly.mqttcare import MqttCare
from edgeagent.identity import Identity
from edgeagent.leaf.conf import ACCOUNT
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.storelimit import StoreLimit, choose, claimed
from edgeagent.link import Client
from edgeagent.patterns.clocksteps import ClockSteps
from edgeagent.patterns.events import Events
from edgeagent.patterns.storehealth import ENOUGH_BYTES, StoreHealth
from edgeagent.runtime import Tasks
from edgeagent.settings import Settings
from edgeagent.status import Problem

__all__ = ["DeviceStore", "limit_of", "store_bytes"]


def limit_of(settings: Settings) -> StoreLimit:
    """What the store may take, decided now if it was not before. Raises EdgeError when its disk can't be looked at."""
    return choose(settings.state_folder, settings.leaf.store_max_bytes, settings.leaf.free_floor_bytes)


def store_bytes(settings: Settings) -> int:
    """What nats-server is told: the limit, but not less than its streams were promised before; they become smaller once it runs."""
    return max(limit_of(settings).limit_bytes, claimed(settings.state_folder / "js", ACCOUNT))


class DeviceStore:
    """The store of one device. commands: know the time. Raises EdgeError when the disk can't be looked at."""

    def __init__(
        self, client: Client, leaf: Leaf, identity: Identity, settings: Settings, commands: DeviceCommands, events: Events
    ) -> None:
        self.limit, self._folder = limit_of(settings), settings.state_folder
        self._tell_problems: Callable[[list[Problem]], None] = lambda problems: None
        self.clock = ClockSteps(client, self._folder, identity.boot, commands.time, synchronized=commands.synchronized)
        self.health = StoreHealth(
            client,
            self._folder,
            restart=leaf.restart if leaf.options.mode == "managed" else None,
            remedy=f"`sudo systemctl restart {leaf.options.unit}`",
            on_change=self._health_changed,
            tell=events.tell,
        )

        self.mqtt = MqttCare(leaf, lambda problems: self._health_changed(self.health.problem))

    def watch(self, tell_problems: Callable[[list[Problem]], None]) -> None:
        """Have ``tell_problems`` called with what is wrong with the store, now and at each change."""
        self._tell_problems = tell_problems
        self._health_changed(self.health.problem)

    def start(self, tasks: Tasks) -> None:
        """Look after it from now on, until ``tasks`` are closed."""
        tasks.start("clock", self.clock.run())
        tasks.start("store health", self.health.run())
        tasks.start("mqtt", self.mqtt.run())

    def link_came(self) -> None:
        """The hub can be reached (again)."""
        self.clock.link_came()

    def refusal(self) -> str:
        """Why no command may run now; empty when there is room to write down what became of it."""
        return NO_SPACE if self.health.is_full else ""

    def _health_changed(self, problem: Problem | None) -> None:
        self._tell_problems([found for found in (problem, self._too_little(), *self.mqtt.problems) if found])

    def _too_little(self) -> Problem | None:
        if not self.limit.is_too_little:
            return None
        mib = self.limit.limit_bytes >> 20
        return Problem(
            f"the disk of {self._folder} has too little room: samples and messages have {mib} MiB, and the disk may run full",
            "free some space, or lower `leaf.free_floor_bytes`, and restart the agent",
        )


NO_SPACE = f"no space: less than {ENOUGH_BYTES >> 20} MiB is free on the device's disk, so its outcome could not be kept"
