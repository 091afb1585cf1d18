"""How fast a backlog drains over one leaf link: 100,000 samples, one a message, beside nats-server's own sourcing of the same stream (a
stream of the hub that sources the leaf's), and how late what is new arrives meanwhile.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import nats
from nats.js import api

from edgeagent import localsubjects, subjects
from edgeagent.chunk import decode_metrics, points_of
from edgeagent.metricsettings import ForwardSettings
from tests.support.forwarding import ForwardingDevice, numbers
from tests.support.servers import PlainHub, until
from tests.support.trusthub import TrustHub

SAMPLES = 100_000
LIVE_APART_SECONDS = 0.25
PATIENCE_SECONDS = 300.0


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as folder:
        native = await _native(Path(folder) / "native")
        ours, late = await _ours(Path(folder) / "ours")
    print(f"{SAMPLES:,} samples, one a message, over one leaf link    samples/s   x sourcing")
    print(f"  nats-server's own sourcing {native:33,.0f}")
    print(f"  the forwarder {ours:46,.0f} {ours / native:12.2f}")
    print(
        f"  meanwhile what is new arrives after {statistics.median(late):.2f} s (median), {max(late):.2f} s at most, of {len(late)}"
    )


async def _filled(device: ForwardingDevice) -> None:
    while device.published < SAMPLES:
        await device.publish(min(9_999, SAMPLES - device.published - 1))


async def _native(folder: Path) -> float:
    async with PlainHub(folder / "hub") as hub:
        device = ForwardingDevice(hub, folder / "pi-1")
        async with device.leaf_running():
            await _filled(device)
            client = await nats.connect(hub.url)
            js = client.jetstream()
            external = api.ExternalStream(api=f"$JS.{device.id}.API")
            begun = time.monotonic()
            await js.add_stream(name="COPY", sources=[api.StreamSource(name=localsubjects.LOCAL_METRICS, external=external)])

            async def all_there() -> bool:
                return (await js.stream_info("COPY")).state.messages >= SAMPLES

            await until(all_there, "all were sourced", PATIENCE_SECONDS)
            seconds = time.monotonic() - begun
            await client.close()
            return SAMPLES / seconds


async def _ours(folder: Path) -> tuple[float, list[float]]:
    async with TrustHub(folder / "hub") as hub:
        device = ForwardingDevice(hub, folder / "pi-1")
        device.settings = ForwardSettings(seconds=1.0)
        client = await hub.connect("HUB")
        arrived: dict[float, float] = {}
        done = asyncio.Event()

        async def heard(message: Any) -> None:
            chunk = decode_metrics(message.data)
            if any(
                series.source == "live" for series in chunk.series
            ):  # of the others nothing: that would be time of this process
                arrived.update({point.sample.value: time.monotonic() for point in points_of(chunk) if point.source == "live"})
            if chunk.progress.next > SAMPLES and not chunk.progress.gaps:
                done.set()

        await client.subscribe(subjects.live("*", "metric"), cb=heard)
        async with device.leaf_running():
            await _filled(device)
            begun = time.monotonic()
            async with device.forwarding():
                await until(lambda: device.forwarder.status().known, "it began")
                sent = await _live(device, done)
                seconds = time.monotonic() - begun
                await until(lambda: len(arrived) >= len(sent), "what was new arrived")
        found = [number for number in await numbers(client) if number < SAMPLES]
        assert sorted(found) == list(range(SAMPLES)), "samples are missing, or came twice"
        return SAMPLES / seconds, [arrived[value] - at for value, at in sent.items()]


async def _live(device: ForwardingDevice, done: asyncio.Event) -> dict[float, float]:
    """Measure something every quarter of a second until the backlog is there; when each was published."""
    sent: dict[float, float] = {}
    while not done.is_set():
        value = SAMPLES + len(sent)
        sent[value] = time.monotonic()
        await device.js.publish(localsubjects.local_metric("live"), str(value).encode())
        await asyncio.wait({asyncio.ensure_future(done.wait())}, timeout=LIVE_APART_SECONDS)
    return sent
