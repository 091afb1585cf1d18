"""Scenario ``cluster``: servers of one hub are killed and started anew in turn, while people and devices go on."""

from __future__ import annotations

from pathlib import Path

from tests.soak import reading
from tests.soak.blows import Round, redistributed, rounds
from tests.soak.people import People
from tests.soak.run import Ended, Plan, begun, heal, judge, programs, working
from tests.soak.site import Site

__all__ = ["cluster"]


async def cluster(folder: Path, plan: Plan) -> Ended:
    """Have it happen below ``folder``, and judge it."""
    ended = Ended(plan)
    async with Site(folder, servers=plan.servers, devices=plan.devices, say=plan.say) as site:
        people = People(site, plan.seed, calls=ended.calls, notes=ended.notes)
        async with programs(site, ended):
            await begun(site, ended)
            async with working(people):
                ended.rounds = await rounds(site, seed=plan.seed, seconds=plan.seconds, kills=plan.kills, say=plan.say)
                if plan.spread_within and plan.servers > 1:
                    problem = await redistributed(site, last := Round(), plan.spread_within)
                    ended.spread, ended.wrong = last.leafs, [problem] if problem else []
        await heal(site, people, ended, site.servers[0].place)
        await site.stop()
        reading.with_journals(ended.record, site)
    judge(ended)
    return ended
