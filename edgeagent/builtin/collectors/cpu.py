"""How busy the processor is."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.collectors import Metric, Round, collector
from edgeagent.machine import Machine
from edgeagent.sample import Sample

UTILIZATION = Metric(
    "system.cpu.utilization",
    "1",
    "Share of the time since the last round in which the processor was busy, of all cores together.",
)
LOAD = Metric(
    "system.cpu.load_average.1m",
    "{thread}",
    "Runnable and disk-waiting tasks on average over the last minute, of all cores together.",
)


@collector("cpu", UTILIZATION, LOAD)
class Cpu:
    """It remembers how much time was spent when it was asked last, so the first round has no utilization."""

    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None

    def __call__(self, round: Round) -> Iterator[Sample]:
        now, before = spent(round.machine), self._before
        self._before = now
        if now and before and now[1] > before[1]:
            busy = (now[0] - before[0]) / (now[1] - before[1])
            yield UTILIZATION(min(max(busy, 0.0), 1.0))
        load = round.machine.text("/proc/loadavg")
        if load:
            yield LOAD(float(load.split()[0]))


def spent(machine: Machine) -> tuple[int, int] | None:
    """Busy and all ticks since the start, of all cores (proc_stat(5)): what guests took is in ``user`` and ``nice`` already."""
    line = (machine.text("/proc/stat") or "").partition("\n")[0].split()
    if line[:1] != ["cpu"] or len(line) < 5:
        return None
    ticks = [int(word) for word in line[1:9]]
    idle = ticks[3] + (ticks[4] if len(ticks) > 4 else 0)
    return sum(ticks) - idle, sum(ticks)
