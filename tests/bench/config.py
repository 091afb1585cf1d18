"""How fast configuration counts: from the publish that an operator makes to the report of the device that follows it, one device and
many, beside the least that NATS needs for the same; and after an outage in which much was missed.

The least: a plain subscriber on a leaf that hears the bell, reads the document with one Direct Get, and publishes one message that is
acknowledged. It checks no signature, keeps nothing and has nothing else to do; and all of these subscribers are one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from edgeagent import subjects, wire
from edgeagent.demo.fleet import DemoFleet
from edgeagent.demo.layout import QUICK, SHIPPED, Pace
from edgeagent.direct import get_last
from edgeagent.fleet import Fleet
from edgeagent.fleet.config import STREAM
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.link import Client, connect, settle
from edgeagent.publish import published
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import creds
from edgeagent.trust.signed import peek
from tests.bench.fleet import running
from tests.support.bareleafs import BareLeafs
from tests.support.configuring import document

DEVICE, DEVICES, MISSED = "pi-01", 50, 30
#: How many changes with one device and with many. A device reads once a second at most, so they are a bit further apart.
CHANGES, ROUNDS, APART_SECONDS = 50, 20, 1.2
PATIENCE_SECONDS = 180.0

#: (device, scope, generation)
Key = tuple[str, str, int]
_numbers = itertools.count(1)


async def main() -> None:
    print("milliseconds from put to applied and reported              p50      p99  x the least")
    for count, changes in ((1, CHANGES), (DEVICES, ROUNDS)):
        async with running(count) as demo, _operator() as (fleet, arrivals):
            ids = [device.id for device in demo.devices]
            real = [await _put(fleet, arrivals, ids) for _ in range(changes)]
        async with running(1) as demo, _operator() as (fleet, arrivals), _bare(demo, count) as ids:
            least = [await _put(fleet, arrivals, ids) for _ in range(changes)]
        _print_round(f"{count} agent{'s' if count > 1 else ''}, {changes} changes", real, least)
    print(f"\nseconds until the newest of {MISSED} changes that were missed is applied and reported (median of each pace)")
    print("                                                  from plugging in   from the link's return")
    for name, pace, runs in (("demo's pace", QUICK, 5), ("shipped defaults", SHIPPED, 3)):
        plugged, linked = zip(*await _outages(pace, runs), strict=True)
        print(f"  {name:<20} {runs} outages {statistics.median(plugged):30.2f} {statistics.median(linked):20.3f}")


def _print_round(what: str, real: list[list[float]], least: list[list[float]]) -> None:
    def line(name: str, times: list[float], floor: list[float]) -> None:
        ours, theirs = statistics.median(times), statistics.median(floor)
        print(f"  {name:<48} {ours * 1000:9.1f} {p99(times) * 1000:8.1f} {ours / theirs:9.1f}")

    every, floor = [time for one in real for time in one], [time for one in least for time in one]
    line(f"the least, {what.split(',')[0].replace('agent', 'subscriber')}", floor, floor)
    line(f"{what}, each device", every, floor)
    if len(real[0]) > 1:
        line("  until the last of them", [max(one) for one in real], [max(one) for one in least])


def p99(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, len(times) * 99 // 100)]


class Arrivals:
    """When a report first said that a device follows a document. client: a person's."""

    def __init__(self, client: Client) -> None:
        self._client, self._times, self._news = client, dict[Key, float](), asyncio.Event()

    async def start(self) -> None:
        await self._client.subscribe(subjects.live("*", "report"), cb=self._heard)
        await settle(self._client, what="hear reports")

    async def _heard(self, message: Any) -> None:
        now, device = time.monotonic(), subjects.device_of(message.subject)
        config = wire.decode(message.data, wire.Report).config or wire.ConfigState()
        for scope, state in config.scopes.items():
            self._times.setdefault((device, scope, state.applied), now)
        self._news.set()

    async def of(self, keys: Iterable[Key]) -> list[float]:
        """Their times, once all of them are known."""
        wanted = list(keys)

        async def all_known() -> None:
            while not all(key in self._times for key in wanted):
                self._news.clear()
                await self._news.wait()

        await asyncio.wait_for(all_known(), PATIENCE_SECONDS)
        return [self._times[key] for key in wanted]


@contextlib.asynccontextmanager
async def _operator() -> AsyncIterator[tuple[Fleet, Arrivals]]:
    async with Fleet() as fleet:
        arrivals = Arrivals(fleet.client)
        await arrivals.start()
        yield fleet, arrivals


async def _put(fleet: Fleet, arrivals: Arrivals, ids: list[str]) -> list[float]:
    """Store one more document of the fleet; seconds until each device has said that it follows it. Then a pause."""
    data = document(fleet.login, FLEET_ALL, {"app": {"bench": {"number": next(_numbers)}}})
    begun = time.monotonic()
    await published(fleet.client, subjects.document(FLEET_ALL), data)
    times = await arrivals.of((device, str(FLEET_ALL), peek(data).number) for device in ids)
    await asyncio.sleep(APART_SECONDS)
    return [moment - begun for moment in times]


@contextlib.asynccontextmanager
async def _bare(demo: DemoFleet, count: int) -> AsyncIterator[list[str]]:
    """The least that could be done, as ``count`` devices."""
    ids = [f"bare-{number:02}" for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as folder:
        async with BareLeafs(HubFolder(demo.folder.hub), Path(folder)) as leafs:
            for device in ids:
                await _follow(await leafs.add(device), device)
            yield ids


async def _follow(client: Client, device: str) -> None:
    async def rung(message: Any) -> None:
        stored = await get_last(client, STREAM, subjects.document(FLEET_ALL))
        if stored is not None:
            state = wire.ConfigState(scopes={str(FLEET_ALL): wire.ScopeState(applied=peek(stored.data).number)})
            await published(client, subjects.report(device), wire.encode(wire.Report(id=device, facts={}, config=state)))

    await client.subscribe(subjects.config_doorbell(FLEET_ALL), cb=rung)
    await settle(client, what="hear the bell")


# ---- outages -----------------------------------------------------------------------------------------------------------------


async def _outages(pace: Pace, runs: int) -> list[tuple[float, float]]:
    async with running(1, pace) as demo, _operator() as (fleet, arrivals), links(demo) as seen:
        return [await _outage(demo, fleet, arrivals, seen) for _ in range(runs)]


async def _outage(demo: DemoFleet, fleet: Fleet, arrivals: Arrivals, links: Links) -> tuple[float, float]:
    """Seconds from plugging the cable in, and from the leaf's link, until the report says that the newest documents are followed."""
    await demo.cable(DEVICE).cut()
    scopes = (FLEET_ALL, Scope.group(demo.devices[0].groups[0]), Scope.device(DEVICE))
    newest = {}
    for number, scope in zip(range(MISSED), itertools.cycle(scopes)):
        data = document(fleet.login, scope, {"app": {"missed": {"number": number}}})
        await published(fleet.client, subjects.document(scope), data)
        newest[scope] = peek(data).number
    await links.gone()
    plugged = time.monotonic()
    await demo.cable(DEVICE).restore()
    linked = await links.came()
    applied = max(await arrivals.of((DEVICE, str(scope), number) for scope, number in newest.items()))
    return applied - plugged, applied - linked


class Links:
    """When devices link, by the hub's server itself."""

    def __init__(self, client: Client, account: str) -> None:
        self._client, self._account = client, account
        self._events: dict[str, asyncio.Queue[float]] = {what: asyncio.Queue() for what in ("CONNECT", "DISCONNECT")}

    async def start(self) -> None:
        for what in self._events:
            await self._client.subscribe(f"$SYS.ACCOUNT.{self._account}.{what}", cb=self._heard)
        await settle(self._client, what="hear links")

    async def _heard(self, message: Any) -> None:
        self._events[message.subject.rpartition(".")[2]].put_nowait(time.monotonic())

    async def gone(self) -> float:
        return await asyncio.wait_for(self._events["DISCONNECT"].get(), PATIENCE_SECONDS)

    async def came(self) -> float:
        return await asyncio.wait_for(self._events["CONNECT"].get(), PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def links(demo: DemoFleet) -> AsyncIterator[Links]:
    keyring, port = Keyring.load(demo.folder.hub), HubFolder(demo.folder.hub).options().client_port
    login = creds.callbacks(keyring.service_credentials("sys"))
    client = await connect(f"nats://127.0.0.1:{port}", what="reach the hub", name="bench", inbox_prefix="_INBOX.bench", jwt=login)
    try:
        links = Links(client, keyring.account_public("FLEET"))
        await links.start()
        yield links
    finally:
        await client.close()
