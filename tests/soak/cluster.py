"""Scenario ``cluster``: servers of one hub are killed and started anew in turn, while people and devices go on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.errors import EdgeError
from edgeagent.patterns.forwardchunks import DATA, METRICS
from tests.soak import judging, reading
from tests.soak.blows import Round, rounds
from tests.soak.people import People
from tests.soak.site import Say, Site
from tests.support import chaosjudge
from tests.support.chaosjudge import Record
from tests.support.numbered import Line, problems, publish

__all__ = ["Ended", "Plan", "cluster"]

KINDS = (METRICS, DATA)
#: From one sample, or message, of a device's program to the next, a mean in seconds.
APART_SECONDS = 0.5
#: A kind of call must not fail for longer than this, in seconds.
LIMIT_SECONDS = 10.0
#: After the last blow everything must have come through within this, in seconds.
HEALS_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """seconds: of blows; the last round is brought to its end. kills: in each round, before all are restarted in turn. limit: for calls, in
    seconds."""

    seed: int
    devices: int = 20
    servers: int = 3
    seconds: float = 300.0
    kills: int = 3
    limit: float = LIMIT_SECONDS
    say: Say = print


@dataclass
class Ended:
    """lines: what programs published, by device and kind; found: what the hub has of it. absent: of each device, the longest time without
    its answer; healing: until all was there; both in seconds. config: what was wrong with it at the last look."""

    plan: Plan
    rounds: list[Round] = field(default_factory=list)
    lines: dict[tuple[str, str], Line] = field(default_factory=dict)
    found: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    calls: list[judging.Call] = field(default_factory=list)
    record: Record = field(default_factory=lambda: Record({}))
    notes: dict[str, bool] = field(default_factory=dict)
    absent: dict[str, float] = field(default_factory=dict)
    healing: float = 0.0
    config: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def load(site: Site, seed: int, ended: Ended) -> AsyncIterator[People]:
    """While the block runs, programs on all devices publish, and people work."""
    over, people = asyncio.Event(), People(site, seed, calls=ended.calls, notes=ended.notes)
    ended.lines = {(device.id, kind.name): Line() for device in site.devices for kind in KINDS}
    work = [asyncio.create_task(people.run(over))]
    for device in site.devices:
        url = f"nats://127.0.0.1:{device.leaf_port}"
        for kind in KINDS:
            drawn, line = random.Random(f"{seed} {device.id} {kind.name}"), ended.lines[device.id, kind.name]
            publishing = publish(lambda url=url: url, kind, line, drawn=drawn, apart=APART_SECONDS, over=over)  # type: ignore[misc]
            work.append(asyncio.create_task(publishing))
    try:
        yield people
    finally:
        over.set()
        await asyncio.gather(*work)


async def cluster(folder: Path, plan: Plan) -> Ended:
    """Have it happen below ``folder``, and judge it."""
    ended = Ended(plan)
    async with Site(folder, servers=plan.servers, devices=plan.devices, say=plan.say) as site:
        async with load(site, plan.seed, ended) as people:
            ended.rounds = await rounds(site, seed=plan.seed, seconds=plan.seconds, kills=plan.kills, say=plan.say)
        begun = time.monotonic()
        await heal(site, people, ended)
        ended.healing = time.monotonic() - begun
        await site.stop()
        reading.with_journals(ended.record, site)
    judge(ended)
    return ended


async def heal(site: Site, people: People, ended: Ended) -> None:
    """Return when everything has come through, or the time for it is over."""
    deadline = time.monotonic() + HEALS_SECONDS
    while True:
        with contextlib.suppress(EdgeError):
            if await _read(site, people, ended):
                return
        if time.monotonic() > deadline:
            ended.wrong.append(f"not all had come through {HEALS_SECONDS:g} s after the last blow")
            return
        await asyncio.sleep(1)


async def _read(site: Site, people: People, ended: Ended) -> bool:
    async with reading.reading(site.servers[0].place) as hub:
        for device in site.devices:
            for kind in KINDS:
                ended.found[device.id, kind.name] = await reading.numbers(hub, device.id, kind)
        ended.record = await reading.commands(hub, site.devices, people.orders)
        kept = await reading.notes(hub)
    status = await site.cli("config", "status", "--json")
    if status.code:
        return False
    ended.config = judging.config_problems(ended.notes, kept, reading.rows(status.out))
    whole = all(line.acknowledged <= set(ended.found[key]) for key, line in ended.lines.items())
    return not ended.config and whole and reading.has_ended(ended.record)


def judge(ended: Ended) -> None:
    """Write down everything that is wrong."""
    for (device, kind), line in ended.lines.items():
        ended.wrong += [f"{device} {kind}: {each}" for each in problems(line, ended.found.get((device, kind), []))]
    ended.wrong += ended.config
    ended.wrong += chaosjudge.problems(ended.record)
    ended.wrong += judging.late(ended.calls, ended.plan.limit)
    ended.absent = judging.absences(ended.calls, ended.record.devices)
