"""What is read from and written to the disks."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.builtin import _block
from edgeagent.collectors import Metric, Round, collector
from edgeagent.sample import COUNTER, Sample

IO = Metric(
    "system.disk.io",
    "By",
    "Bytes read from and written to a disk since boot; left out for one that was never used.",
    kind=COUNTER,
    attributes=("system.device", "disk.io.direction"),
)
#: The kernel counts in sectors of this size whatever the disk's own is (Documentation/block/stat.rst).
_SECTOR_BYTES = 512
#: Where sectors read and written stand in ``stat``, and how many numbers there are at least (the same page).
_READ, _WRITTEN, _NUMBERS = 2, 6, 11


@collector("disk_io", IO)
def collect(round: Round) -> Iterator[Sample]:
    for disk in _block.disks(round.machine):
        numbers = [int(word) for word in (round.machine.text(f"/sys/class/block/{disk}/stat") or "").split()]
        if len(numbers) >= _NUMBERS and numbers[_READ] + numbers[_WRITTEN]:
            yield IO(numbers[_READ] * _SECTOR_BYTES, disk, "read")
            yield IO(numbers[_WRITTEN] * _SECTOR_BYTES, disk, "write")
