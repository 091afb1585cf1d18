"""What processes use, out of /proc: of several together, and since the last time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from edgeagent.builtin._kernel import children, cores
from edgeagent.collectors import Metric
from edgeagent.machine import Machine

__all__ = ["CPU", "MEMORY", "Process", "Used", "processes", "read"]

_WHOSE = ("process.executable.name",)
MEMORY = Metric("process.memory.usage", "By", "Physical memory of the processes of one name together.", attributes=_WHOSE)
CPU = Metric(
    "process.cpu.utilization",
    "1",
    "Processor time of the processes of one name since the last round: 1 is all cores, all the time.",
    attributes=_WHOSE,
)

_TICKS_A_SECOND, _PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """seconds: of processor time. started: ticks after the start of the kernel; with the number that is one process for ever."""

    pid: int
    name: str
    started: int
    seconds: float
    memory_bytes: int


def processes(machine: Machine) -> Iterator[Process]:
    """Everything that runs."""
    for path in children(machine, "/proc"):
        word = path.rpartition("/")[2]
        if word.isdigit() and (found := read(machine, int(word))):
            yield found


def read(machine: Machine, pid: int) -> Process | None:
    """One process, None when it does not run (any more)."""
    # proc_pid_stat(5): the name in parentheses may hold any character; utime, stime, starttime and rss are the fields 14, 15, 22, 24.
    head, _, rest = (machine.text(f"/proc/{pid}/stat") or "").rpartition(")")
    fields = rest.split()
    if len(fields) < 22 or fields[0] in "ZX":
        return None
    seconds = (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
    return Process(pid, head.partition("(")[2], int(fields[19]), seconds, int(fields[21]) * _PAGE_BYTES)


class Used:
    """How much processor time processes took since the last time; they may come and go meanwhile."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, int], float] | None = None
        self._at = 0.0

    def share(self, machine: Machine, found: Iterable[Process], clock: float) -> float | None:
        """The share of all cores; None the first time. clock: monotonic, in seconds. What began meanwhile counts with all it took."""
        now = {(each.pid, each.started): each.seconds for each in found}
        before, passed = self._before, clock - self._at
        self._before, self._at = now, clock
        if before is None or passed <= 0:
            return None
        took = sum(max(seconds - before.get(process, 0.0), 0.0) for process, seconds in now.items())
        return min(took / passed / (cores(machine) or 1), 1.0)
