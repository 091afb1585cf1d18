"""What devices store on the hub of samples, messages and events, published through a login of each: no agent runs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from edgeagent import subjects, wire
from edgeagent.chunk import Message, Point, Progress, encode_data, encode_metrics
from edgeagent.publish import published
from edgeagent.sample import Sample
from edgeagent.trust.creds import Credentials
from tests.support.administering import inside, registered
from tests.support.fleet import LiveFleet
from tests.support.rogue import Rogue

__all__ = ["CPU", "DEVICES", "Sender", "logins", "now_ms", "point", "senders"]

CPU = "system.cpu.utilization"
#: Id, group and site of each device.
DEVICES = (("pi-01", "berlin", "north"), ("pi-02", "berlin", "south"), ("pi-03", "munich", "north"))


def now_ms() -> int:
    return int(time.time() * 1000)


def point(
    time_ms: int,
    value: float,
    metric: str = CPU,
    source: str = "agent",
    *,
    unit: str = "1",
    attributes: Mapping[str, str] | None = None,
    estimated: bool = False,
) -> Point:
    return Point(source, Sample(metric, value, dict(attributes or {}), unit=unit), time_ms, estimated)


class Sender:
    """One device, as its forwarder speaks. leaf: its link."""

    def __init__(self, leaf: Rogue) -> None:
        self.id, self._leaf, self._next, self._stored = leaf.device_id, leaf, 1, 0
        self._inbox = f"edge.to.device.{self.id}.in.chunks"
        leaf.subscribe(f"{self._inbox}.*")  # once: a device has few subscriptions

    async def metrics(self, *points: Point) -> None:
        """Store a chunk of these."""
        await self.store("metric", encode_metrics(*self._head(1), points))

    async def data(self, *bodies: tuple[str, int, bytes]) -> None:
        """Store a chunk of these: topic, Unix milliseconds, bytes."""
        await self.store("data", encode_data(*self._head(len(bodies)), bodies))

    async def event(self, severity: str, text: str, **more: str) -> None:
        await self.store(f"event.{severity}", wire.encode(wire.Event(kind=more.pop("kind", "test.event"), text=text, **more)))  # type: ignore[arg-type]  # only texts are given

    async def store(self, what: str, payload: bytes, headers: Mapping[str, str] | bytes | None = None) -> None:
        """Store anything under ``edge.from.<id>.<what>``; the hub has acknowledged it then."""
        self._stored += 1
        inbox = f"{self._inbox}.{self._stored}"
        self._leaf.publish(f"edge.from.{self.id}.{what}", payload, reply=inbox, headers=headers)
        answer = await self._leaf.next_on(inbox)
        assert answer is not None and b'"seq"' in answer.data and b'"error"' not in answer.data, answer

    def _head(self, count: int) -> tuple[Progress, list[Message]]:
        messages = [Message(self._next + number, time.time_ns()) for number in range(count)]
        self._next += count
        return Progress(log=1, epoch=1, next=self._next), messages


async def logins(hub: LiveFleet) -> dict[str, Credentials]:
    """:data:`DEVICES`, registered in ``hub`` and known by a report of each; once a hub."""
    found = {}
    for device, group, site in DEVICES:
        found[device] = await registered(hub, device, group)
        report = wire.Report(id=device, facts={"id": device, "labels": {"site": site}}, heartbeat_seconds=3600)
        async with inside(hub) as client:
            await published(client, subjects.report(device), wire.encode(report))
    return found


@asynccontextmanager
async def senders(hub: LiveFleet, logins: Mapping[str, Credentials]) -> AsyncIterator[dict[str, Sender]]:
    """The devices, linked within the block."""
    async with AsyncExitStack() as stack:
        port = hub.hub.options().leaf_port
        yield {
            device: Sender(await stack.enter_async_context(await Rogue.connect(port, login))) for device, login in logins.items()
        }
