"""`edgeagent metrics export` of a million samples, beside the same bytes only read; and what one hour of one device costs to show."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgeagent.chunk import MAX_SAMPLES, Message, Point, Progress, encode_metrics
from edgeagent.fleet import Fleet
from edgeagent.fleet.storedchunks import stored
from edgeagent.publish import published
from edgeagent.sample import Sample
from edgeagent.subjects import METRICS, metric
from tests.support.administering import inside
from tests.support.fleet import LiveFleet

SAMPLES, DEVICES, SERIES = 1_000_000, 10, 25
#: Chunks that are on their way to the hub at once, while the stream is filled.
AT_ONCE = 4
CPU = "system.cpu.utilization"


async def main() -> None:
    print(f"export of {SAMPLES:,} samples of {DEVICES} devices, in chunks of {MAX_SAMPLES}")
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as name, LiveFleet(Path(name), 0) as hub, hub.borrowed():
        chunks = SAMPLES // MAX_SAMPLES
        await _fill(hub, chunks)
        async with Fleet() as fleet:
            begun = time.monotonic()
            size = sum([len(item.data) async for item in stored(fleet.client, METRICS, metric, None)])
            least = time.monotonic() - begun
        print(f"  only read: {size / 1e6:.1f} MB in {chunks:,} messages        {least:6.2f} s")
        for form in ("ndjson", "csv", "influx"):
            seconds, peak = _export(form)
            print(
                f"  --format {form:<8} {SAMPLES / seconds:9,.0f} samples/s  {seconds:6.2f} s  at most {peak / 1024:.0f} MiB of memory"
            )
        begun = time.monotonic()
        said = _run("metrics", "show", "pi-00", CPU, "--since", "1h", "-o", "wide")
        print(f"  metrics show, 1 h of 1 device {time.monotonic() - begun:6.2f} s: {said.splitlines()[-1]}")


async def _fill(hub: LiveFleet, chunks: int) -> None:
    """Each device's samples end now; all devices measure :data:`SERIES` series, as often as fits."""
    places, now = asyncio.Semaphore(AT_ONCE), int(time.time() * 1000)
    step = 3600_000 // (chunks // DEVICES * MAX_SAMPLES // SERIES)

    async def store(number: int) -> None:
        device, turn = f"pi-{number % DEVICES:02}", number // DEVICES
        first = now - 3600_000 + turn * MAX_SAMPLES // SERIES * step
        async with places:
            points = [_point(index, first + index // SERIES * step) for index in range(MAX_SAMPLES)]
            await published(client, metric(device), encode_metrics(Progress(next=turn + 2), [Message(turn + 1, 1)], points))

    async with inside(hub) as client:
        await asyncio.gather(*map(store, range(chunks)))


def _point(index: int, time_ms: int) -> Point:
    series = index % SERIES
    sample = (
        Sample(CPU, 0.25, unit="1")
        if not series
        else Sample("system.disk.io", index, {"system.device": f"sd{series}"}, unit="By")
    )
    return Point("agent", sample, time_ms)


def _export(form: str) -> tuple[float, int]:
    """Seconds, and the largest resident memory in KiB."""
    script = "import resource, sys; from edgeagent.cli import app\ntry: app()\nfinally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    begun = time.monotonic()
    words = ["metrics", "export", "--format", form, "--since", "2h"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    assert f"{SAMPLES:,} samples" in done.stderr, done.stderr
    return time.monotonic() - begun, int(done.stderr.split()[-1])


def _run(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "edgeagent", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    ).stderr
