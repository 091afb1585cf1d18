"""Scenario ``move``: devices move to a hub that was made of the first one's backup, and back, while everybody goes on working."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from edgeagent import context
from edgeagent.hub.folder import HubFolder
from edgeagent.natsserver import ports
from tests.soak import judging, reading
from tests.soak.people import People
from tests.soak.run import Ended, Plan, begun, heal, judge, numbers, programs, working
from tests.soak.site import CONTEXT, PATIENCE_SECONDS, Server, Site
from tests.support.chaosjudge import Record, line_of
from tests.support.fleet import Said
from tests.support.hub import answers
from tests.support.numbered import Line, problems
from tests.support.servers import until

__all__ = ["move"]

#: Of the second hub.
OTHER = "other"
#: An address that does not work is given up within this, and all devices answer where they were; in seconds.
GIVEN_UP_SECONDS = 300.0


@dataclass(frozen=True)
class Hub:
    """One of the two: its folder, and the context for it."""

    server: Server
    context: str

    @property
    def place(self) -> HubFolder:
        return self.server.place

    @property
    def leaf_url(self) -> str:
        return f"nats-leaf://127.0.0.1:{self.place.options().leaf_port}"

    @property
    def client_url(self) -> str:
        return f"nats://127.0.0.1:{self.place.options().client_port}"


async def move(folder: Path, plan: Plan) -> Ended:
    """Have it happen below ``folder``, and judge it."""
    ended = Ended(plan, one_hub=False)
    async with Site(folder, servers=1, devices=plan.devices, serving=0, say=plan.say) as site:
        people = People(site, plan.seed, calls=ended.calls, notes=ended.notes)
        async with programs(site, ended):
            await begun(site, ended)
            async with working(people):
                first, other = await _two_hubs(site, folder, plan)
                await _wrong_address(site, people, first, other)
                await asyncio.sleep(plan.seconds / 4)
                await _moved(site, people, first, other)
                await asyncio.sleep(plan.seconds / 4)
                ended.wanted[OTHER], leaving = await _snapshot(site, ended, other), len(people.orders)
                await _moved(site, people, other, first)
                left = {order.line for order in people.orders[leaving:] if order.context == OTHER}
                await asyncio.sleep(plan.seconds / 4)
            await people.set_all()
        await heal(site, people, ended, first.place)
        await _look_at_both(site, people, ended, first, other)
        await site.stop()
        reading.with_journals(ended.record, site)
    ended.wrong += _set_aside(ended.record, left)
    judge(ended)
    ended.wrong += _lost_there(ended)
    return ended


async def _two_hubs(site: Site, folder: Path, plan: Plan) -> tuple[Hub, Hub]:
    """The first one, and one of its backup, on which some of what came since is not."""
    backup, place = folder / "hub.tar", HubFolder(folder / "other")
    first = Hub(site.servers[0], CONTEXT)
    await asyncio.sleep(plan.seconds / 8)
    await site.made("hub", "backup", "--dir", str(first.place.path), "--out", str(backup))
    await asyncio.sleep(plan.seconds / 8)
    words = ["--client-port", str(ports.pick()), "--leaf-port", str(ports.pick())]
    await site.made("hub", "restore", str(backup), "--dir", str(place.path), *words)
    other = Hub(Server(place, await site.up(place)), OTHER)
    await until(partial(answers, place), "the other hub answers", PATIENCE_SECONDS)
    made = msgspec.structs.replace(context.load(CONTEXT), name=OTHER, url=other.client_url)
    context.save(made, make_current=False)
    site.say("another hub was made of the first one's backup, and runs")
    return first, other


async def _wrong_address(site: Site, people: People, first: Hub, other: Hub) -> None:
    """All are sent to where nobody is; they stay, or come back, by themselves."""
    said = await _move(site, people, f"nats-leaf://127.0.0.1:{ports.pick()}", first, other, "--anyway")
    site.say(f"sent to a wrong address: exit code {said.code}")
    assert said.code == 3, said
    await until(site.all_answer, "all are at the first hub after a wrong address", GIVEN_UP_SECONDS)
    site.say("all are still at the first hub")


async def _move(site: Site, people: People, url: str, now: Hub, then: Hub, *more: str) -> Said:
    note = f"move to {url}"
    people.notes.setdefault(now.context, {})[note] = True
    words = (
        "hub",
        "move",
        url,
        "--all",
        "--client-url",
        then.client_url,
        "--wait",
        "5m",
        "--note",
        note,
        "--context",
        now.context,
    )
    return await site.cli(*words, *more, timeout=400)


async def _moved(site: Site, people: People, now: Hub, then: Hub) -> None:
    """Move all, and then the people."""
    said = await _move(site, people, then.leaf_url, now, then, "--sync", "--anyway")  # people go on meanwhile
    assert said.code == 0, said
    people.context = then.context

    async def all_are_there() -> bool:
        return await site.all_answer(then.context)

    await until(all_are_there, f"every device answers at {then.context}", PATIENCE_SECONDS)
    site.say(f"all are at {then.context}")


async def _snapshot(site: Site, ended: Ended, other: Hub) -> Mapping[tuple[str, str], Set[int]]:
    """What was acknowledged by now; returns when the other hub has all of it."""
    wanted = {key: set(line.acknowledged) for key, line in ended.lines.items()}

    async def has_all() -> bool:
        async with reading.reading(other.place) as hub:
            stored = await numbers(hub, site)
        return all(wanted[key] <= set(stored[key]) for key in wanted)

    await until(has_all, "the other hub has what was measured until now", PATIENCE_SECONDS)
    return wanted


async def _look_at_both(site: Site, people: People, ended: Ended, first: Hub, other: Hub) -> None:
    """What is judged of them together, and of the other one alone."""
    async with reading.reading(other.place) as hub:
        ended.stored[OTHER] = await numbers(hub, site)
        there = await reading.commands(hub, site.devices, people.orders)
        kept = await reading.notes(hub, copies=False)
    ended.wrong += judging.config_problems(ended.notes.get(OTHER, {}), kept, [], others=ended.notes[CONTEXT])
    ended.record = reading.union(ended.record, there)


def _set_aside(record: Record, lines: Collection[str]) -> list[str]:
    """What was commanded at the hub that devices were leaving may wait there for ever: it only must not have been done twice."""
    ids = {item.entry.id for item in record.entries if item.entry and line_of(item.entry) in lines}
    record.entries = [item for item in record.entries if item.entry is None or item.entry.id not in ids]
    record.sent = [sent for sent in record.sent if sent.line not in lines]
    twice = []
    for name, device in record.devices.items():
        twice += [f"{name} wrote {line} {count} times" for line in lines if (count := device.lines.count(line)) > 1]
        device.lines = [line for line in device.lines if line not in lines]
        device.results = {command: found for command, found in device.results.items() if command not in ids}
    return twice


def _lost_there(ended: Ended) -> list[str]:
    wanted, stored = ended.wanted[OTHER], ended.stored[OTHER]
    lines = {key: Line(line.published, set(wanted[key])) for key, line in ended.lines.items()}
    return [f"{OTHER} {key}: {problem}" for key, line in lines.items() for problem in problems(line, stored[key])]
