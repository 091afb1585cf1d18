"""How fast a decision of the hub's side counts on a device: kept out, let in again, put into a group; at two paces.

Online: presence says so. Whole: the device answers a query, from its new group where it was regrouped.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

from edgeagent.demo.fleet import CONTEXT, DemoFleet
from edgeagent.demo.layout import QUICK, SHIPPED, Pace
from edgeagent.fleet import Fleet, admin
from edgeagent.fleet.admin import Admin
from tests.bench.fleet import pid_of, running

DEVICE = "pi-01"
PATIENCE_SECONDS = 180.0


async def main() -> None:
    print("seconds until it counts                      demo's pace   shipped defaults   promised")
    quick, shipped = await _all(QUICK), await _all(SHIPPED)
    for (what, promised), seconds in quick.items():
        print(f"  {what:<42} {seconds:8.2f} {shipped[what, promised]:15.2f} {promised:>15}")


async def _all(pace: Pace) -> dict[tuple[str, str], float]:
    async with running(3, pace) as demo, admin.connected(CONTEXT) as (fleet, orders):
        return {
            ("device revoke: the leaf is cut", "1"): await _timed(orders.revoke([DEVICE]), lambda: _is_online(fleet, False)),
            ("device unrevoke: it answers", "10"): await _timed(orders.unrevoke([DEVICE]), lambda: _answers(fleet)),
            ("device group add, online", "-"): await _timed(_regrouped(orders, "one"), lambda: _answers(fleet, "one")),
            ("regrouped while its cable was out", "-"): await _regrouped_while_cut(demo, fleet, orders),
            ("regrouped while off, from power-up", "10"): await _regrouped_while_off(demo, fleet, orders),
        }


async def _regrouped(orders: Admin, group: str) -> object:
    return await orders.change_groups([DEVICE], add=[group])


async def _regrouped_while_off(demo: DemoFleet, fleet: Fleet, orders: Admin) -> float:
    """The demo starts what ended again after some two seconds, as systemd would: the agent, and with it its leaf."""
    before = pid_of(demo, DEVICE, "agent")
    os.kill(before, signal.SIGTERM)
    await _until(lambda: _is_online(fleet, False))
    await _regrouped(orders, "three")
    await _until(lambda: _is_another(demo, before))
    return await _timed(asyncio.sleep(0), lambda: _answers(fleet, "three"))


async def _is_another(demo: DemoFleet, pid: int) -> bool:
    return pid_of(demo, DEVICE, "agent") != pid


async def _regrouped_while_cut(demo: DemoFleet, fleet: Fleet, orders: Admin) -> float:
    await demo.cable(DEVICE).cut()
    await _until(lambda: _is_online(fleet, False))
    await _regrouped(orders, "two")
    return await _timed(demo.cable(DEVICE).restore(), lambda: _answers(fleet, "two"))


async def _timed(order: Awaitable[object], true: Callable[[], Awaitable[bool]]) -> float:
    begun = time.monotonic()
    await order
    await _until(true)
    return time.monotonic() - begun


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await true():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.02)


async def _is_online(fleet: Fleet, wanted: bool) -> bool:
    presence = (await fleet.roster()).devices[DEVICE].presence
    return presence is not None and presence.online is wanted


async def _answers(fleet: Fleet, group: str = "") -> bool:
    groups = [group] if group else []
    try:
        outcome = await fleet.query(groups=groups, devices=[] if group else [DEVICE], timeout=0.3)
    except ValueError:  # no device has said yet that it is in this group
        return False
    return any(row.id == DEVICE for row in outcome.answered)
