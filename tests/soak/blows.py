"""What befalls the servers of a hub: kill -9 of one at any time, and a rolling restart of all."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from functools import partial

from edgeagent.errors import EdgeError
from edgeagent.hub.balance import surplus
from tests.soak.health import leafs, missing
from tests.soak.site import Say, Server, Site
from tests.support.servers import until

__all__ = ["Round", "redistributed", "rounds"]

WHATS = {"server": ("server",), "hub": ("hub",), "both": ("server", "hub")}
#: From the moment when all is whole until the next blow, a mean in seconds.
CALM_SECONDS = 4.0
#: Until a hub is whole again, in seconds: then something is wrong.
WHOLE_SECONDS = 180.0
LOOK_SECONDS = 0.5


@dataclass
class Round:
    """blows: what was killed, and how long it was until the hub was whole again, in seconds. leafs: devices on each server at the end."""

    blows: list[tuple[str, float]] = field(default_factory=list)
    rolling: float = 0.0
    leafs: dict[str, int] = field(default_factory=dict)


async def rounds(site: Site, *, seed: int, seconds: float, kills: int, say: Say) -> list[Round]:
    """Rounds of so many kills and a rolling restart, until the time is over; one at least. say: told of each blow."""
    drawn, end, found = random.Random(f"{seed} blows"), time.monotonic() + seconds, list[Round]()
    while not found or time.monotonic() < end:
        one = Round()
        found.append(one)
        for _ in range(kills):
            await asyncio.sleep(drawn.expovariate(1 / CALM_SECONDS))
            server, what = drawn.choice(site.servers), drawn.choice(list(WHATS))
            one.blows.append((f"{what} of {server.name}", await _kill(site, server, what)))
            say(f"whole after {one.blows[-1][1]:.1f} s")
        begun = time.monotonic()
        for server in site.servers:
            await _restart(site, server)
            say(f"{server.name} restarted: whole {time.monotonic() - begun:.1f} s after the first one began")
        one.rolling = time.monotonic() - begun
        say(f"all restarted in turn: {one.rolling:.1f} s")
        await until(partial(_all_linked, site, one), "every device is linked again", WHOLE_SECONDS)
        say(f"devices per server: {', '.join(map(str, one.leafs.values()))}")
    return found


async def redistributed(site: Site, one: Round, seconds: float) -> str:
    """Wait until no server has clearly more devices than its share; what is wrong if that takes longer, else empty."""
    begun = time.monotonic()
    while not await _all_linked(site, one) or any(surplus(one.leafs, name) for name in one.leafs):
        if time.monotonic() > begun + seconds:
            return f"the devices are still badly spread after {seconds:g} s: {one.leafs}"
    site.say(f"devices per server after {time.monotonic() - begun:.0f} s of calm: {', '.join(map(str, one.leafs.values()))}")
    return ""


async def _all_linked(site: Site, one: Round) -> bool:
    """Note where the devices are."""
    with contextlib.suppress(EdgeError):
        one.leafs = dict(sorted((await leafs(site.servers[0].place, len(site.servers))).items()))
    await asyncio.sleep(LOOK_SECONDS)
    return sum(one.leafs.values()) == len(site.devices)


async def _kill(site: Site, server: Server, what: str) -> float:
    begun = time.monotonic()
    site.say(f"kill -9 of {what} of {server.name}")
    for process in WHATS[what]:
        server.kill(process)
    await _until_whole(site, f"the hub is whole after kill -9 of {what} of {server.name}")
    return time.monotonic() - begun


async def _restart(site: Site, server: Server) -> None:
    """As ``systemctl restart`` does."""
    before = server.pid("server")
    server.program.restart()
    await until(lambda: _pid(server) != before, f"{server.name} was started anew", WHOLE_SECONDS)
    await _until_whole(site, f"the hub is whole after a restart of {server.name}")


def _pid(server: Server) -> int:
    try:
        return server.pid("server")
    except (OSError, ValueError):
        return -1


async def _until_whole(site: Site, what: str) -> None:
    why = ""

    async def is_whole() -> bool:
        nonlocal why
        why = await missing(site.servers)
        await asyncio.sleep(LOOK_SECONDS if why else 0)  # a look costs some connections
        return not why

    try:
        await until(is_whole, what, WHOLE_SECONDS)
    except AssertionError:
        raise AssertionError(f"{what}: {why}") from None
