"""A whole agent in this process, without a hub, beside a real mosquitto."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgeagent import settings, status
from edgeagent.assembly.device import Agent
from edgeagent.natsserver import ports
from edgeagent.sample import Sample, parse
from edgeagent.status import Status
from tests.support import fakeroot
from tests.support.mosquitto import Mosquitto
from tests.support.servers import until

__all__ = ["ZIGBEE", "Pi", "waiting"]

ZIGBEE = '[[mqtt.brokers.home.rules]]\nin = "zigbee2mqtt/#"\nexcept = ["zigbee2mqtt/bridge/#"]\n'


class Pi:
    """A device in this process. ``local`` has what came into its leaf's streams, as (subject, payload)."""

    def __init__(self, folder: Path, broker: Mosquitto, text: str = ZIGBEE, more: str = "") -> None:
        self.machine = fakeroot.pi_4(folder / "root").machine
        self.file = folder / "agent.toml"
        self._head = (
            f'[device]\nid = "pi-1"\n[leaf]\nport = {ports.pick()}\n[paths]\nstate = "state"\nruntime = "run"\n'
            "[sampling]\ninterval_seconds = 1\nflush_seconds = 1\n"
        )
        self._url = broker.url
        self.local: list[tuple[str, bytes]] = []
        self.write(text, more)

    def write(self, text: str, more: str = "") -> None:
        """text: of the broker's table; more: of the rest."""
        self.file.write_text(f'{self._head}{more}[mqtt.brokers.home]\nurl = "{self._url}"\n{text}')

    @asynccontextmanager
    async def running(self, *, waits: bool = True) -> AsyncIterator[Agent]:
        """waits: until the broker is connected."""
        stop = asyncio.Event()
        async with Agent(settings.load(self.file), stop, self.machine) as agent:
            subscription = await agent.links.agent.subscribe("local.>", cb=self._hear)
            task = asyncio.create_task(agent.run())
            try:
                if waits:
                    await until(lambda: self.connected, "the broker is connected")
                yield agent
            finally:
                await subscription.unsubscribe()
                stop.set()
                await task

    async def _hear(self, message: Any) -> None:
        self.local.append((message.subject, message.data))

    @property
    def status(self) -> Status | None:
        try:
            return status.read(settings.load(self.file).status_file)
        except Exception:
            return None

    @property
    def connected(self) -> bool:
        found = self.status
        return found is not None and "home" in found.brokers and found.brokers["home"].connected

    @property
    def samples(self) -> list[Sample]:
        return [each for subject, data in self.local if subject == "local.metric.mqtt.home" for each in parse(subject, data)]

    def values(self, metric: str) -> list[float]:
        return [each.value for each in self.samples if each.metric == metric]


def waiting(agent: Agent) -> list[dict[str, Any]]:
    """The audit, as it waits for a hub."""
    return [event.data for _, event, _ in agent.events._waiting if event.kind == "action.asked"]
