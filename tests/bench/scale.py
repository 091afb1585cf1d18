"""What a hub carries: thousands of leafs on one server and on three, writes with one copy and with three, and what the services do of them.

``make bench ONLY=scale`` takes some three minutes; ``LEAFS=5000 make bench ONLY=scale`` longer. Devices are raw leafs
(tests/support/rawleafs.py), all in this process, and hubs are made and run by the command line; everything shares this machine's cores, so
three servers are not faster here than one. docs/scale.md says what follows from it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time

from edgeagent import subjects
from edgeagent.chunk import MAX_CHUNK_BYTES
from edgeagent.fleet import Fleet
from edgeagent.hub.presence_keeper import PresenceKeeper
from tests.bench.scalehub import GROUP, ScaleHub, hub_of
from tests.support.rawleafs import RawLeaf, RawLeafs

LEAFS = int(os.environ.get("LEAFS", "1000"))
#: Links as devices have them, a nats-server each: 20 MB of this machine's memory.
REAL = int(os.environ.get("REAL", "60"))
ASKED, WRITERS, WRITES, WINDOW, PAYLOAD = 3, 40, 8_000, 10, os.urandom(1024)
assert len(PAYLOAD) < MAX_CHUNK_BYTES


async def main() -> None:
    print(f"{LEAFS} devices as raw leafs\n{'':<44} {'one server':>12} {'three':>12}   ratio")
    one, three = dict[str, float](), dict[str, float]()
    for size, found in ((1, one), (3, three)):
        async with hub_of(size) as hub:
            await _leafs(hub, found)
            found["writes/s, 1 KiB, acknowledged"] = await _writes(hub)
        print(f"  ({size}: measured)", flush=True)
    for what, value in one.items():
        other = three[what]
        print(f"  {what:<42} {value:12.2f} {other:12.2f}   x {other / value:.2f}")
    for what in three.keys() - one.keys():
        print(f"  {what:<42} {'':>12} {three[what]:12.2f}")
    print(f"\n{REAL} links of real leafs, KiB of the hub's memory each")
    for what, compress in (("compress = true, as shipped", True), ("compress = false", False)):
        async with hub_of(1, compress=compress) as hub:
            fresh, again = await hub.real_leafs(REAL)
            print(f"  {what:<42} {fresh:12.0f}   after each has linked anew {again:8.0f}")


async def _leafs(hub: ScaleHub, found: dict[str, float]) -> None:
    devices = await hub.register(LEAFS)
    before, begun = hub.memory_bytes, time.monotonic()
    async with RawLeafs(devices, hub.leaf_ports, [GROUP]) as leafs:
        await leafs.until_linked()
        found["until all are linked, s"] = time.monotonic() - begun
        async with Fleet() as fleet:
            await hub.until_online(fleet, LEAFS)
            found["until all are seen online, s"] = time.monotonic() - begun
            found["fleet ls (the hub's records), s"] = await _median(lambda: fleet.roster())
            found["live query of all, s"] = await _median(lambda: _asked(fleet))
        found["KiB a leaf, all servers together"] = (hub.memory_bytes - before) / LEAFS / 1024
        found["services, MiB each"] = hub.services_bytes / len(hub.leaf_ports) / 2**20
        found["presence compared with the servers, s"] = await _reconcile(hub)
        if len(hub.leaf_ports) > 1:
            await _killed(hub, leafs, found)


async def _median(ask: object) -> float:
    times = []
    for _ in range(ASKED):
        begun = time.monotonic()
        await ask()  # type: ignore[operator]
        times.append(time.monotonic() - begun)
    return statistics.median(times)


async def _asked(fleet: Fleet) -> None:
    outcome = await fleet.query(timeout=30)
    assert len(outcome.answered) == LEAFS, f"{len(outcome.answered)} answered, {len(outcome.silent)} were silent"


async def _reconcile(hub: ScaleHub) -> float:
    """What an instance of the services does at its start and each minute: all leafs of all servers, against all presences."""
    system, store = await hub.client("sys"), await hub.client("hub")
    keeper = PresenceKeeper(system, store, hub.keyring.account_public("FLEET"))
    await keeper.start()
    return await _median(keeper.reconcile)


async def _killed(hub: ScaleHub, leafs: RawLeafs, found: dict[str, float]) -> None:
    lost, begun = leafs.on(hub.leaf_ports[-1]), time.monotonic()
    hub.kill(-1)
    await leafs.until_linked_to(hub.leaf_ports[:-1])
    found["share of leafs that a kill -9 moved"] = lost / LEAFS
    found["... until they are linked elsewhere, s"] = time.monotonic() - begun
    async with Fleet() as fleet:
        begun = time.monotonic()
        await _asked(fleet)
        found["... the first query after it, s"] = time.monotonic() - begun
    await hub.revive(-1)


async def _writes(hub: ScaleHub) -> float:
    """Acknowledged chunks a second through leafs, the service import and the stream, a window of them in flight for each device."""
    devices = hub.credentials(WRITERS, "writer")
    async with RawLeafs(devices, hub.leaf_ports, [GROUP]) as leafs:
        await leafs.until_linked()
        await asyncio.gather(*(_write(leaf, 2 * WINDOW) for leaf in leafs.all))
        begun = time.monotonic()
        await asyncio.gather(*(_write(leaf, WRITES // WRITERS) for leaf in leafs.all))
        return WRITES / (time.monotonic() - begun)


async def _write(leaf: RawLeaf, count: int) -> None:
    sent = 0
    for _ in range(count):
        while sent < count and sent - leaf.answers < WINDOW:
            leaf.publish(subjects.metric(leaf.device), PAYLOAD, reply=leaf.inbox)
            sent += 1
        answer = await asyncio.wait_for(leaf.acknowledged.get(), 60)
        assert b'"error"' not in answer, answer
        leaf.answers += 1
    leaf.answers = 0
