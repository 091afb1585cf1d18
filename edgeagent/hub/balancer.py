"""Sends devices from a server of a cluster that has too many to the others, a few at a time: :mod:`edgeagent.hub.balance` decides."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgeagent.errors import EdgeError
from edgeagent.hub import balance, leafs
from edgeagent.hub.balance import Balance, Server
from edgeagent.hub.presence import Leaf, read_leafz
from edgeagent.hub.serverping import ask_all
from edgeagent.link import Client, request
from edgeagent.runtime import jittered
from edgeagent.subjects import VISITING
from edgeagent.times import parse_rfc3339

__all__ = ["Balancer", "chosen_of", "read"]

log = logging.getLogger("edgeagent.hub")

_WHAT = "send devices to other servers"


class Balancer:
    """system: a connection to SYS. fleet: the public key of the devices' account. own: the name of this machine's server. size: how many
    servers there are."""

    def __init__(self, system: Client, fleet: str, own: str, size: int) -> None:
        self._system, self._fleet, self._own, self._size = system, fleet, own, size
        self._balance = Balance(own, size)
        #: Whom the last round sent away: those have had their turn.
        self._last: set[str] = set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(jittered(balance.ROUND_SECONDS))
            try:
                await self.round()
            except EdgeError as error:  # a server is away: then nobody is sent anywhere
                log.debug("%s", error)

    async def round(self) -> int:
        """Look, and send away whom it is time for; how many. Raises EdgeError."""
        answers = await ask_all(self._system, "VARZ", self._size)
        health = await ask_all(self._system, "HEALTHZ", self._size)
        devices = await ask_all(self._system, "STATZ", self._size, account=self._fleet)
        count = self._balance.to_move(read(answers, health, devices), asyncio.get_running_loop().time())
        if not count:
            return 0
        here = await self._links(str(answers[self._own]["server"]["id"]))
        chosen = chosen_of(here, self._last, count)
        self._last = {leaf.connection for leaf in chosen}
        for leaf in chosen:
            await leafs.kick(self._system, leaf, what=_WHAT)
        log.info("%d of %d devices were sent to other servers of the cluster, which have fewer", len(chosen), len(here))
        return len(chosen)

    async def _links(self, server: str) -> list[Leaf]:
        body = json.dumps({"account": self._fleet, "subscriptions": True}).encode()
        answer = await request(self._system, f"$SYS.REQ.SERVER.{server}.LEAFZ", body, what=_WHAT, timeout=leafs.LIST_SECONDS)
        return read_leafz(answer.data)[1]


def read(
    answers: dict[str, dict[str, Any]], health: dict[str, dict[str, Any]], devices: dict[str, dict[str, Any]]
) -> dict[str, Server]:
    """What the servers answered to VARZ, HEALTHZ, and STATZ of the devices' account: of other accounts a stranger may have many links."""
    return {
        name: Server(
            leafs=sum(int(each.get("leafnodes", 0)) for each in devices[name]["data"].get("account_statz") or []),
            uptime=(parse_rfc3339(answer["data"]["now"]) - parse_rfc3339(answer["data"]["start"])).total_seconds(),
            healthy=(health.get(name, {}).get("data") or {}).get("status") == "ok",
        )
        for name, answer in answers.items()
        if name in devices
    }


def chosen_of(here: Sequence[Leaf], last: set[str], count: int) -> list[Leaf]:
    """Whom to send away. A device may link as often as it likes: while one is here several times, or as nobody, it goes before others do.
    Pure but for chance."""
    links = Counter(leaf.device for leaf in here)
    fresh = [leaf for leaf in here if leaf.connection not in last and not leaf.name.endswith(VISITING)]
    surplus = [leaf for leaf in fresh if leaf.device is None or links[leaf.device] > 1]
    return random.sample(surplus or fresh, min(count, len(surplus or fresh)))
