"""What every scenario shares: the load, and the end, in which everything has to be where it belongs."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Mapping, Set
from dataclasses import dataclass, field

from edgeagent.errors import EdgeError
from edgeagent.hub.folder import HubFolder
from edgeagent.link import Client
from edgeagent.patterns.forwardchunks import DATA, METRICS
from tests.soak import judging, reading
from tests.soak.blows import Round
from tests.soak.people import People
from tests.soak.site import CONTEXT, PATIENCE_SECONDS, Say, Site
from tests.support import chaosjudge
from tests.support.chaosjudge import Record
from tests.support.numbered import Line, problems, publish
from tests.support.servers import until

__all__ = ["KINDS", "LIMIT_SECONDS", "Ended", "Plan", "Stored", "begun", "heal", "judge", "numbers", "programs", "working"]

KINDS = (METRICS, DATA)
#: From one sample, or message, of a device's program to the next, a mean in seconds.
APART_SECONDS = 0.5
#: A kind of call must not fail for longer than this, in seconds.
LIMIT_SECONDS = 10.0
#: After the last blow everything must have come through within this, in seconds.
HEALS_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """seconds: of blows; the last round is brought to its end. kills: in each round, before all are restarted in turn. limit: for calls.
    spread_within: how long devices may take, after the last blow, to be on all servers alike; 0: nobody looks. All in seconds."""

    seed: int
    devices: int = 20
    servers: int = 3
    seconds: float = 300.0
    kills: int = 3
    limit: float = LIMIT_SECONDS
    spread_within: float = 400.0
    say: Say = print


#: Numbers of programs by device and kind: those that a hub has.
Stored = dict[tuple[str, str], list[int]]


@dataclass
class Ended:
    """lines: what programs published, by device and kind. stored: what each hub has of it, by its context; devices are at ``home`` in the end. one_hub: whether nothing of a hub was ever another one's, so that all has one order.
    wanted: numbers that a hub must have; if it is not in there, all that were acknowledged.

    absent: of each device, the longest time without its answer; healing: until all was there; both in seconds. config: what was wrong
    with it at the last look. spread: devices on each server once they had time to spread. wrong: all that must not have been.
    """

    plan: Plan
    one_hub: bool = True
    home: str = CONTEXT
    rounds: list[Round] = field(default_factory=list)
    lines: dict[tuple[str, str], Line] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    wanted: dict[str, Mapping[tuple[str, str], Set[int]]] = field(default_factory=dict)
    calls: list[judging.Call] = field(default_factory=list)
    record: Record = field(default_factory=lambda: Record({}))
    notes: dict[str, dict[str, bool]] = field(default_factory=dict)
    absent: dict[str, float] = field(default_factory=dict)
    healing: float = 0.0
    config: list[str] = field(default_factory=list)
    spread: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def programs(site: Site, ended: Ended) -> AsyncIterator[None]:
    """While the block runs, programs on all devices publish."""
    over = asyncio.Event()
    ended.lines = {(device.id, kind.name): Line() for device in site.devices for kind in KINDS}
    work = []
    for device in site.devices:
        for kind in KINDS:
            drawn, line = random.Random(f"{ended.plan.seed} {device.id} {kind.name}"), ended.lines[device.id, kind.name]
            work.append(asyncio.create_task(publish(device.url, kind, line, drawn=drawn, apart=APART_SECONDS, over=over)))
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*work)


async def begun(site: Site, ended: Ended) -> None:
    """Return when the hub has something of every device: before that people would be told that there is nothing."""

    async def has_some() -> bool:
        await asyncio.sleep(0.5)
        async with reading.reading(site.servers[0].place) as hub:
            return all((await numbers(hub, site)).values())

    await until(has_some, "the hub has something of every device", PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def working(people: People) -> AsyncIterator[None]:
    """While the block runs, people work; at its end everything that they had begun has ended."""
    over = asyncio.Event()
    work = asyncio.create_task(people.run(over))
    try:
        yield
    finally:
        over.set()
        await work


async def heal(site: Site, people: People, ended: Ended, place: HubFolder) -> None:
    """Return when everything has come through to the hub at which the devices are, or the time for it is over."""
    begun = time.monotonic()
    while not await _has_come_through(site, people, ended, place):
        if time.monotonic() > begun + HEALS_SECONDS:
            ended.wrong.append(f"not all had come through {HEALS_SECONDS:g} s after the last blow")
            break
        await asyncio.sleep(1)
    ended.healing = time.monotonic() - begun


async def _has_come_through(site: Site, people: People, ended: Ended, place: HubFolder) -> bool:
    try:
        async with reading.reading(place) as hub:
            stored = ended.stored[ended.home] = await numbers(hub, site)
            ended.record = await reading.commands(hub, site.devices, people.orders)
            kept = await reading.notes(hub, copies=ended.one_hub)
    except EdgeError:
        return False
    status = await site.cli("config", "status", "--json", "--context", ended.home)
    if status.code:
        return False
    others = [note for context, notes in ended.notes.items() if context != ended.home for note in notes]
    rows = reading.rows(status.out)
    ended.config = judging.config_problems(ended.notes.get(ended.home, {}), kept, rows, others=others)
    whole = all(line.acknowledged <= set(stored[key]) for key, line in ended.lines.items())
    return not ended.config and whole and reading.has_ended(ended.record)


async def numbers(hub: Client, site: Site) -> Stored:
    """What a hub has of all programs."""
    return {(device.id, kind.name): await reading.numbers(hub, device.id, kind) for device in site.devices for kind in KINDS}


def judge(ended: Ended) -> None:
    """Write down everything that is wrong."""
    stored = ended.stored.get(ended.home, {})
    for (device, kind), line in ended.lines.items():
        ended.wrong += [f"{device} {kind}: {each}" for each in problems(line, stored.get((device, kind), []))]
    ended.wrong += ended.config
    ended.wrong += chaosjudge.problems(ended.record, ordered=ended.one_hub)
    ended.wrong += judging.late(ended.calls, ended.plan.limit)
    ended.absent = judging.absences(ended.calls, ended.record.devices)
