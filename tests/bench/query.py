"""A live query to real agents, beside the least that NATS itself needs: as many plain connections that answer one request."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import nats

from edgeagent.fleet import Fleet
from tests.bench.fleet import running

DEVICES = 10
RUNS = 30


async def main() -> None:
    print(f"live query, {DEVICES} devices (median of {RUNS})")
    async with running(DEVICES) as demo:
        least = statistics.median(await plain(_leaf_port(demo), DEVICES, RUNS))
        print(f"  {DEVICES} plain connections to one server   {least * 1000:6.1f} ms")
        async with Fleet() as fleet:
            await fleet.query("cpu.count > 0")
            for what, where in (("no filter", ""), ("a CEL filter", "cpu.count > 0 && memory.utilization < 2.0")):
                times = []
                for _ in range(RUNS):
                    begun = time.monotonic()
                    outcome = await fleet.query(where)
                    times.append(time.monotonic() - begun)
                    assert len(outcome.answered) == DEVICES
                median = statistics.median(times)
                print(f"  {DEVICES} agents behind their leafs, {what:<13} {median * 1000:6.1f} ms   x {median / least:.1f}")


def _leaf_port(demo: Any) -> int:
    from edgeagent import settings, status

    return status.read(settings.load(demo.folder.settings("pi-01")).status_file).leaf.port


async def plain(port: int, count: int, runs: int) -> list[float]:
    """Seconds until so many plain connections to the server at ``port`` have answered one request, each time."""
    url = f"nats://127.0.0.1:{port}"
    answering = [await nats.connect(url) for _ in range(count)]
    for client in answering:

        async def answer(message: Any) -> None:
            await message.respond(b"{}")

        await client.subscribe("local.bench", cb=answer)
        await client.flush()
    asking = await nats.connect(url)
    inbox = asking.new_inbox()
    answers = await asking.subscribe(inbox)
    times = []
    for _ in range(runs):
        begun = time.monotonic()
        await asking.publish("local.bench", b"{}", reply=inbox)
        for _ in range(count):
            await answers.next_msg()
        times.append(time.monotonic() - begun)
    await asyncio.gather(*(client.close() for client in [asking, *answering]))
    return times
