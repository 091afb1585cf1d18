"""How long the machine has been up."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.builtin._kernel import seconds_up
from edgeagent.collectors import Metric, Round, collector
from edgeagent.sample import Sample

UPTIME = Metric("system.uptime", "s", "Seconds since the kernel started, those in suspend too.")


@collector("uptime", UPTIME)
def collect(round: Round) -> Iterator[Sample]:
    seconds = seconds_up(round.machine)
    if seconds is not None:
        yield UPTIME(int(seconds))
