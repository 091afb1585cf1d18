"""The hub's streams while it runs: made before anything else, and made again when the store was lost; in a cluster when enough servers are there."""

from __future__ import annotations

import asyncio
import logging

from edgeagent.backoff import delays
from edgeagent.errors import EdgeError
from edgeagent.hub import streams
from edgeagent.hub.cluster import Cluster
from edgeagent.hub.serverping import ask_all
from edgeagent.link import Client

__all__ = ["HubStreams", "missing", "servers_there", "waiting"]

log = logging.getLogger("edgeagent.hub")

#: Bounds of the pause after the streams could not be looked at, in seconds; of a cluster's servers each elects anew for every stream.
RETRY_SECONDS, CLUSTER_RETRY_SECONDS = (0.5, 15.0), (0.25, 2.0)
#: How long a cluster may take to elect who leads until that is no news any more but trouble, in seconds. Usual are 4 to 10.
ELECTION_SECONDS = 30.0
#: How long a cluster may take over one stream, in seconds: while it elects it keeps silent, and is better asked again.
ANSWER_SECONDS = 2.0
#: How long the first server may take to say that it is there, in seconds.
FIRST_SECONDS = 1.0


class HubStreams:
    """hub, system: connections to the accounts HUB and SYS. store_bytes: what each server may take on disk."""

    def __init__(self, hub: Client, system: Client, store_bytes: int, cluster: Cluster) -> None:
        self._hub, self._system, self._store_bytes, self._cluster = hub, system, store_bytes, cluster

    async def start(self) -> None:
        """Make them. Raises Failed when the one server there is will not; in a cluster it waits until they can be."""
        if self._cluster.number:
            await self.ensure()
        else:
            await self._once()

    async def ensure(self) -> None:
        """Make them, however often it takes."""
        loop, said = asyncio.get_running_loop(), ""
        began = loop.time()
        for pause in delays(*(CLUSTER_RETRY_SECONDS if self._cluster.number else RETRY_SECONDS)):
            try:
                await self._once()
                break
            except EdgeError as error:
                why = await self._waits_for()
                if why and why != said:
                    log.info("%s", why)
                if not why and (not self._cluster.number or loop.time() - began > ELECTION_SECONDS):
                    log.warning("%s", error)
                said = why
            await asyncio.sleep(pause)

    async def _once(self) -> None:
        seconds = ANSWER_SECONDS if self._cluster.number else None
        js = self._hub.jetstream(timeout=seconds) if seconds else self._hub.jetstream()
        for name in await streams.ensure(js, self._store_bytes, replicas=self._cluster.replicas):
            log.info("made or changed the stream %s", name)

    async def _waits_for(self) -> str:
        if not self._cluster.number:
            return ""
        return waiting(await servers_there(self._system, self._cluster.size), self._cluster.size)


def missing(there: int, size: int) -> int:
    """How many more servers a cluster of ``size`` needs to go on."""
    return max(0, size // 2 + 1 - there)


def waiting(there: int, size: int) -> str:
    """What a cluster waits for, as a line for a person; empty when all are there."""
    if there >= size:
        return ""
    lacks = missing(there, size)
    number = {1: "one more server", 2: "two more servers"}.get(lacks, f"{lacks} more servers")
    what = (
        f"waits for {number} of the cluster"
        if lacks
        else "the streams are made, or change, when every server of the cluster is there"
    )
    return f"{what}: {there} of {size} are here"


async def servers_there(system: Client, size: int) -> int:
    """How many servers answer; 0 when none did. size: as many there can be."""
    try:
        return len(await ask_all(system, "STATSZ", size, first=FIRST_SECONDS))
    except EdgeError:
        return 0
