"""Devices that forward: each a real leaf with its own store, linked to a real hub, and a forwarder in the test's own process."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext

from edgeagent import localsubjects
from edgeagent.chunk import DataChunk, MetricChunk, decode_data, decode_metrics, points_of
from edgeagent.direct import read_all
from edgeagent.errors import Failed
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect
from edgeagent.metricsettings import ForwardSettings
from edgeagent.natsserver import ports
from edgeagent.natsserver.supervisor import Timing
from edgeagent.patterns import localstore
from edgeagent.patterns.forwardchunks import DATA, METRICS, Kind
from edgeagent.patterns.forwarder import Forwarder
from edgeagent.patterns.pace import Pace
from edgeagent.runtime import Tasks
from edgeagent.subjects import agent_inbox
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.servers import PlainHub, until
from tests.support.trusthub import TrustHub

__all__ = ["DATA", "METRICS", "QUICK", "ForwardingDevice", "Kept", "chunks", "in_order", "kept", "numbers", "ordered"]

QUICK = ForwardSettings(seconds=0.1)
_TIMING = Timing(first_seconds=0.05, cap_seconds=0.2, good_seconds=60, grace_seconds=10)


class ForwardingDevice:
    """``async with device.leaf_running():`` its leaf, its streams and a client; within that ``async with device.forwarding():`` the forwarder.

    hub_port: of another way to the hub's port for leafs. store_bytes: what its leaf may keep.
    """

    def __init__(
        self, hub: TrustHub | PlainHub, folder: Path, device_id: str = "pi-1", *, hub_port: int = 0, store_bytes: int = 64 << 20
    ) -> None:
        self.hub, self.folder, self.id = hub, folder, device_id
        self.hub_port, self.store_bytes = hub_port or hub.leaf_port, store_bytes
        self.settings, self.kind = QUICK, METRICS
        self.told: list[tuple[str, str]] = []
        self.published = 0
        self._port = ports.pick()
        folder.mkdir(parents=True, exist_ok=True)
        self._credentials: Path | None = None
        if isinstance(hub, PlainHub):
            return
        key = KeyPair.generate("user")
        self._credentials = folder / "device.creds"
        self._credentials.write_text(Credentials(hub.device_jwt(device_id, key.public), key.seed).format())

    def tell(self, severity: str, kind: str, text: str, **data: object) -> None:
        self.told.append((kind, text))

    @property
    def store(self) -> Path:
        return self.folder / "leaf" / "js"

    @contextlib.asynccontextmanager
    async def leaf_running(self) -> AsyncIterator[ForwardingDevice]:
        self.leaf = Leaf(
            LeafOptions(
                device_id=self.id,
                server_name=f"{self.id}-a1b2c3d4",
                folder=self.folder / "leaf",
                hub_urls=(f"nats-leaf://127.0.0.1:{self.hub_port}",),
                credentials=self._credentials,
                port=self._port,
                reconnect_seconds=0.2,
                ping_seconds=5,
                store_max_bytes=self.store_bytes,
                timing=_TIMING,
                start_seconds=30,
            )
        )
        try:
            await self.leaf.start()
            self.client: Client = await connect(
                self.leaf.url,
                what="reach the leaf",
                name="test",
                inbox_prefix=agent_inbox(self.id),
                password=self.leaf.agent_login,
            )
            await localstore.ensure(self.client, self.store_bytes)
            yield self
        finally:
            with contextlib.suppress(Exception):
                await self.client.close()
            await self.leaf.stop()

    @property
    def js(self) -> JetStreamContext:
        return self.client.jetstream(timeout=10)

    @contextlib.asynccontextmanager
    async def forwarding(self) -> AsyncIterator[Forwarder]:
        tasks = Tasks()
        self.forwarder = Forwarder(
            self.client,
            self.id,
            self.kind,
            self.settings,
            hint=self.folder / f"forward-{self.kind.name}.json",
            tell=self.tell,
            pace=Pace(self.settings.bytes_per_second),
        )
        self.forwarder.start(tasks)
        try:
            yield self.forwarder
        finally:
            await tasks.close()

    async def publish(self, count: int, *, kind: Kind = METRICS) -> None:
        """So many more numbered samples (or messages); returns when the leaf has them."""
        subject = localsubjects.local_metric("n") if kind is METRICS else localsubjects.local_data("n")
        for number in range(self.published, self.published + count):
            await self.client.publish(subject, str(number).encode())
        self.published += count
        stream, last = kind.local, 0
        while not last:
            last = (await self.js.publish(subject, str(self.published).encode(), stream=stream)).seq
        self.published += 1

    async def idle(self, *, seconds: float = 30.0) -> None:
        """Return when nothing waits, as the forwarder sees it after a look of its own."""

        async def done() -> bool:
            state = await self.forwarder._log.state()
            now, seen = self.forwarder.status(), self.forwarder._state
            return now.known and now.waiting == 0 and seen is not None and seen.last >= state.last

        await until(done, f"{self.id} has forwarded everything: {self.forwarder.status()}", seconds)

    def save(self, name: str) -> None:
        """Copy the leaf's store, which must not run."""
        shutil.copytree(self.store, self.folder / name)

    def put_back(self, name: str) -> None:
        """Make the leaf's store what it was; it must not run."""
        shutil.rmtree(self.store)
        shutil.copytree(self.folder / name, self.store)


async def chunks(hub_client: Client, device_id: str = "pi-1", kind: Kind = METRICS) -> list[tuple[int, Any]]:
    """``(hub's sequence, chunk)`` of all that the hub has of a device and that can be read."""
    found = []
    async for item in read_all(hub_client, kind.stream, kind.say(device_id), prefix="$JS.API"):
        with contextlib.suppress(Failed):
            found.append((item.sequence, decode_metrics(item.data) if kind is METRICS else decode_data(item.data)))
    return found


def ordered(found: list[tuple[int, Any]]) -> list[MetricChunk | DataChunk]:
    """By epoch, and in each by the first local sequence."""
    heads = [chunk if isinstance(chunk, MetricChunk) else chunk[0] for _, chunk in found]
    return sorted(heads, key=lambda chunk: (chunk.progress.epoch, chunk.sequences[0]))


#: Epoch, sequence and value of what is in a chunk, by the hub's sequence of that.
Kept = dict[int, list[tuple[int, int, int]]]


async def kept(hub_client: Client, device_id: str = "pi-1", kind: Kind = METRICS) -> Kept:
    """What the hub has of a device's numbered samples or messages. What an agent measures besides is left out; where it stands between numbers,
    their sequences are too small, but in the same order.
    """
    found: Kept = {}
    for at, chunk in await chunks(hub_client, device_id, kind):
        if kind is METRICS:
            head, values = chunk, [int(point.sample.value) for point in points_of(chunk) if point.source != "agent"]
        else:
            head, values = chunk[0], [int(body) for _, _, body in chunk[1]]
        sequences = list(accumulate(head.sequences))
        assert len(values) <= len(sequences)
        found[at] = [(head.progress.epoch, sequence, value) for sequence, value in zip(sequences, values, strict=False)]
    return found


def in_order(found: Kept) -> list[int]:
    """The values by epoch and sequence; none of these may come twice."""
    every = [each for chunk in found.values() for each in chunk]
    assert [each for each, count in Counter(every).items() if count > 1] == []
    return [value for _, _, value in sorted(every)]


async def numbers(hub_client: Client, device_id: str = "pi-1", kind: Kind = METRICS) -> list[int]:
    """What the hub has of a device's numbered samples or messages, in the order of (epoch, sequence)."""
    return in_order(await kept(hub_client, device_id, kind))
