"""Main memory and swap."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.builtin._kernel import memory
from edgeagent.collectors import Metric, Round, collector
from edgeagent.sample import Sample

UTILIZATION = Metric("system.memory.utilization", "1", "Share of the memory that is not available to programs, 0 to 1.")
USAGE = Metric("system.memory.usage", "By", "Memory that is not available to programs: all but the kernel's MemAvailable.")
PAGING = Metric("system.paging.utilization", "1", "Share of the swap that is used, zram too; left out where there is none.")


@collector("memory", UTILIZATION, USAGE, PAGING)
def collect(round: Round) -> Iterator[Sample]:
    sizes = memory(round.machine)
    total, available = sizes.get("MemTotal"), sizes.get("MemAvailable")
    if total and available is not None:
        yield UTILIZATION(1 - available / total)
        yield USAGE(total - available)
    if sizes.get("SwapTotal"):
        yield PAGING(1 - sizes.get("SwapFree", 0) / sizes["SwapTotal"])
