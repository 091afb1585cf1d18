"""The agent and its leaf: what they use, and what became of the messages that they keep and forward."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator

from edgeagent.builtin.collectors._processes import CPU, MEMORY, Used, read
from edgeagent.collectors import Metric, Round, collector
from edgeagent.sample import COUNTER, Sample

RESTARTS = Metric(
    "edgeagent.leaf.restarts", "{restart}", "How often the agent started its leaf again since it started itself.", COUNTER
)
WAITING = Metric("edgeagent.forward.waiting", "{message}", "Messages in the leaf's store that are not at the hub yet.")
FORWARDED = Metric("edgeagent.forward.forwarded", "{message}", "Messages that this device sent to the hub, ever.", COUNTER)
DROPPED = Metric(
    "edgeagent.forward.dropped",
    "{message}",
    "Messages that never came to the hub, by what made it so (`edgeagent.cause`); left out while there are none.",
    COUNTER,
    ("edgeagent.cause",),
)


@collector("agent", MEMORY, CPU, RESTARTS, WAITING, FORWARDED, DROPPED)
class Agent:
    """It remembers what each of the two has used."""

    def __init__(self) -> None:
        self._used: defaultdict[str, Used] = defaultdict(Used)

    def __call__(self, round: Round) -> Iterator[Sample]:
        own = round.own
        for name, pid in (("edgeagent", os.getpid()), ("nats-server", own.leaf_pid)):
            found = read(round.machine, pid) if pid else None
            if found:
                yield MEMORY(found.memory_bytes, name)
                share = self._used[name].share(round.machine, [found], round.clock)
                if share is not None:
                    yield CPU(share, name)
        yield RESTARTS(own.leaf_restarts)
        if own.waiting is not None:
            yield WAITING(own.waiting)
        if own.forwarded is not None:
            yield FORWARDED(own.forwarded)
        for cause, count in sorted(own.dropped.items()):
            if count:
                yield DROPPED(count, cause)
