"""A leaf that takes MQTT clients, with the agent's relay and its register of microcontrollers, in this process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from edgeagent import files, mcus
from edgeagent.assembly.leafrelay import options_of
from edgeagent.bridge.leafmqtt import LeafMqtt
from edgeagent.leaf import apps
from edgeagent.leaf.apps import App
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect
from edgeagent.localsubjects import LOCAL_DATA, LOCAL_METRICS
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver import ports
from edgeagent.natsserver.supervisor import Timing
from edgeagent.patterns import localstore
from edgeagent.patterns.locallog import LocalLog
from edgeagent.patterns.mcus import Mcus
from edgeagent.runtime import Tasks
from edgeagent.sample import Sample, parse
from tests.support.servers import until

__all__ = ["PASSWORD", "MqttLeaf", "running"]

#: Of every login.
PASSWORD = "secret"


class MqttLeaf:
    """leaf: with a login for each of its microcontrollers and programs. client, system: the agent's. relay, mcus: of one life of the agent."""

    def __init__(self, leaf: Leaf, client: Client, system: Client, mcu_ids: Sequence[str], programs: Sequence[str]) -> None:
        self.leaf, self._client, self._system, self._mcu_ids, self._programs = leaf, client, system, mcu_ids, programs
        self.told: list[str] = []

    @property
    def port(self) -> int:
        assert self.leaf.mqtt.conf
        return self.leaf.mqtt.conf.port

    async def begin(self) -> None:
        """A life of the agent."""
        self.tasks = Tasks()
        self.mcus = Mcus(
            self._client,
            tell=lambda severity, kind, text, **data: self.told.append(kind),
            unix_ms=lambda: int(time.time() * 1000),
        )
        self.mcus.know(self._mcu_ids)
        self.mcus.start(self.tasks)
        conf = self.leaf.mqtt.conf
        assert conf
        self.relay = LeafMqtt(
            options_of(conf),
            self._client,
            self._system,
            self.mcus,
            mcu_ids=lambda: self._mcu_ids,
            programs=lambda: self._programs,
        )
        self.relay.start(self.tasks)
        # What it says at each connect is acknowledged after its subscriptions were taken.
        await until(lambda: self.relay.status().sent > 0, "the agent listens")

    async def end(self) -> None:
        await self.relay.close()
        await self.tasks.close()

    async def samples(self) -> list[Sample]:
        """In the leaf's store, in order."""
        messages = (await LocalLog(self._client, LOCAL_METRICS).read(1, count=5000, max_bytes=8 << 20)).messages
        return [sample for each in messages for sample in parse(each.subject, each.data)]

    async def values(self, metric: str) -> list[float]:
        return [each.value for each in await self.samples() if each.metric == metric]

    async def delete(self, stream: str) -> None:
        """Take a store of the leaf away."""
        await self._client.request(f"$JS.API.STREAM.DELETE.{stream}", b"", timeout=5)

    async def make_stores(self) -> None:
        """Those that are not there."""
        await localstore.ensure(self._client, 64 << 20)

    async def data(self) -> list[tuple[str, bytes]]:
        """The messages of programs there: subject and bytes."""
        found = (await LocalLog(self._client, LOCAL_DATA).read(1, count=5000, max_bytes=32 << 20)).messages
        return [(each.subject, each.data) for each in found]


async def _close(client: Client) -> None:
    with contextlib.suppress(OSError):  # the leaf was killed a moment ago
        await client.close()


@contextlib.asynccontextmanager
async def running(
    folder: Path, *, mcu_ids: Sequence[str] = (), programs: Sequence[str] = (), mqtt: MqttSettings | None = None
) -> AsyncIterator[MqttLeaf]:
    """Password of all logins: :data:`PASSWORD`, but for microcontrollers that have one there already. mqtt: None: a port without TLS."""
    leaf = Leaf(
        LeafOptions(
            device_id="pi-01",
            server_name="pi-01-x",
            folder=folder,
            port=ports.pick(),
            mqtt=mqtt or MqttSettings(port=ports.pick()),
            timing=Timing(first_seconds=0.1, cap_seconds=0.5),
        )
    )
    files.make_folder(folder, 0o700)
    apps.save(leaf.options.apps_file, {name: App(name=name, password="x", mqtt_password=PASSWORD) for name in programs})
    made = {each: mcus.Mcu(id=each, password=PASSWORD) for each in mcu_ids}
    mcus.save(leaf.options.mcus_file, {**made, **mcus.load(leaf.options.mcus_file)})
    async with contextlib.AsyncExitStack() as stack:
        await leaf.start()
        stack.push_async_callback(leaf.stop)
        logins = {"_INBOX.x": leaf.agent_login, "_INBOX.sys": leaf.sys_login}
        clients = [
            await connect(leaf.url, what="x", name="agent", inbox_prefix=key, password=each) for key, each in logins.items()
        ]
        for client in clients:
            stack.push_async_callback(_close, client)
        await localstore.ensure(clients[0], 64 << 20)
        found = MqttLeaf(leaf, clients[0], clients[1], mcu_ids, programs)
        await found.begin()
        stack.push_async_callback(found.end)
        yield found
