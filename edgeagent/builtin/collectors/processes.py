"""The programs that ``sampling.processes`` names: of what has one name, or of what a systemd unit runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from edgeagent.builtin.collectors._processes import CPU, MEMORY, Process, Used, processes
from edgeagent.collectors import Metric, Round, collector
from edgeagent.machine import Machine
from edgeagent.sample import Sample

COUNT = Metric(
    "edgeagent.process.count",
    "{process}",
    "How many processes of one name, or of one unit, run: of those that `sampling.processes` names.",
    attributes=("process.executable.name",),
)
_UNIT = ".service"
#: The kernel keeps so much of a program's name (TASK_COMM_LEN, linux/sched.h, without the NUL).
_NAME_CHARACTERS = 15


@collector("processes", MEMORY, CPU, COUNT)
class Processes:
    """It remembers what each name has used."""

    def __init__(self) -> None:
        self._used: defaultdict[str, Used] = defaultdict(Used)

    def __call__(self, round: Round) -> Iterator[Sample]:
        wanted = round.settings.sampling.processes
        if not wanted:
            return
        running = list(processes(round.machine))
        for name in wanted:
            found = [each for each in running if _is(round.machine, each, name)]
            yield COUNT(len(found), name)
            yield MEMORY(sum(each.memory_bytes for each in found), name)
            share = self._used[name].share(round.machine, found, round.clock)
            if share is not None:
                yield CPU(share, name)


def _is(machine: Machine, process: Process, name: str) -> bool:
    if name.endswith(_UNIT):
        # cgroups(7): of version 2 `0::/system.slice/shop.service`, deeper for what the unit divides further.
        groups = machine.text(f"/proc/{process.pid}/cgroup") or ""
        return any(name in line.rpartition(":")[2].split("/") for line in groups.splitlines())
    if process.name != name[:_NAME_CHARACTERS]:
        return False
    return len(name) <= _NAME_CHARACTERS or _program(machine, process.pid) in ("", name)


def _program(machine: Machine, pid: int) -> str:
    """The whole name, which the kernel cuts."""
    return (machine.text(f"/proc/{pid}/cmdline") or "").partition("\0")[0].rpartition("/")[2]
