"""Scenario ``restored``: a hub dies, and is made anew of a backup that is older than much of what happened; its devices link to that one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgeagent.hub.folder import HubFolder
from tests.soak import reading
from tests.soak.people import People
from tests.soak.run import Ended, Plan, begun, heal, judge, programs, working
from tests.soak.site import PATIENCE_SECONDS, Server, Site
from tests.support.servers import kill_leftovers, until

__all__ = ["restored"]


async def restored(folder: Path, plan: Plan) -> Ended:
    """Have it happen below ``folder``, and judge it."""
    ended, backup = Ended(plan, one_hub=False), folder / "hub.tar"
    async with Site(folder, servers=1, devices=plan.devices, serving=0, say=plan.say) as site:
        people = People(site, plan.seed, calls=ended.calls, notes=ended.notes)
        async with programs(site, ended):
            await begun(site, ended)
            async with working(people):
                await asyncio.sleep(plan.seconds / 3)
                await site.made("hub", "backup", "--dir", str(site.servers[0].place.path), "--out", str(backup))
                plan.say("backed up")
                await asyncio.sleep(plan.seconds / 3)
            before = await _gone(site, people)
            await _anew(site, folder / "restored", backup)
            async with working(people):
                await asyncio.sleep(plan.seconds / 3)
            people.forget()
            await people.set_all()
        await heal(site, people, ended, site.servers[0].place)
        await site.stop()
        ended.record = reading.union(before, ended.record)
        reading.with_journals(ended.record, site)
    judge(ended)
    return ended


async def _gone(site: Site, people: People) -> reading.Record:
    """What the hub has, once it has heard of every end, before it dies for good."""
    server, found = site.servers[0], list[reading.Record]()

    async def all_has_ended() -> bool:
        async with reading.reading(server.place) as hub:
            found.append(await reading.commands(hub, site.devices, people.orders))
        return reading.has_ended(found[-1])

    await until(all_has_ended, "every command has ended", PATIENCE_SECONDS)
    for what in ("hub", "server"):
        server.kill(what)
    await server.program.stop()
    kill_leftovers(server.place.path)
    return found[-1]


async def _anew(site: Site, folder: Path, backup: Path) -> None:
    """At the same address, as the same hub."""
    said = await site.made("hub", "restore", str(backup), "--dir", str(folder))
    site.say(said.out.strip().replace("\n", "\n" + " " * 11))
    place = HubFolder(folder)
    site.servers = [Server(place, await site.up(place))]
    await until(site.all_answer, "every device answers again", PATIENCE_SECONDS)
    site.say("every device answers again")
