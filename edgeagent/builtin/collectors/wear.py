"""How worn the flash memory is, where it tells: eMMC does (a Compute Module's), SD cards do not."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.builtin import _block
from edgeagent.collectors import Metric, Round, collector
from edgeagent.sample import Sample

ENDURANCE = Metric(
    "hw.physical_disk.endurance_utilization",
    "1",
    "What is left of the life that the maker gave the memory, in tenths; 0: it is over. Of the two kinds of memory in it the worse one.",
    attributes=("hw.id", "hw.physical_disk.state"),
)
RESERVE = Metric(
    "edgeagent.disk.pre_eol_info",
    "1",
    "How much of its spare blocks an eMMC has used: 1 is normal, 2 more than 80 %, 3 urgent.",
    attributes=("system.device",),
)
#: Life used up, in tenths that have begun: 0x01 is 0 to 10 %, 0x0B is over, 0 is not told (JEDEC eMMC 5.0, EXT_CSD 267 to 269; the
#: kernel's Documentation/driver-api/mmc/mmc-dev-attrs.rst).
_OVER = 0x0B


@collector("wear", ENDURANCE, RESERVE, seconds=3600)
def collect(round: Round) -> Iterator[Sample]:
    for disk in _block.disks(round.machine):
        folder = f"/sys/class/block/{disk}/device"
        kinds = [int(word, 16) for word in (round.machine.text(f"{folder}/life_time") or "").split()]
        if any(kinds):
            yield ENDURANCE((_OVER - min(max(kinds), _OVER)) / 10, disk, "remaining")
        reserve = round.machine.integer(f"{folder}/pre_eol_info", 16)
        if reserve:
            yield RESERVE(reserve, disk)
