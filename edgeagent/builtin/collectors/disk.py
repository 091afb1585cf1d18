"""How full the file systems are that the device lives on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgeagent.builtin import _mounts
from edgeagent.collectors import Metric, Round, collector
from edgeagent.sample import Sample

_WHERE = ("system.filesystem.mountpoint",)
UTILIZATION = Metric(
    "system.filesystem.utilization",
    "1",
    "Share of the same file systems that is used, reckoned as df(1) does.",
    attributes=_WHERE,
)
USAGE = Metric(
    "system.filesystem.usage",
    "By",
    "Bytes used of a file system: of `/`, and of that with the state folder where it is another.",
    attributes=_WHERE,
)


@collector("disk", UTILIZATION, USAGE)
def collect(round: Round) -> Iterator[Sample]:
    for point in sorted({"/", _mountpoint(round)}):
        try:
            space = os.statvfs(round.machine.path(point))
        except OSError:
            continue
        used = space.f_blocks - space.f_bfree
        if used + space.f_bavail:
            yield UTILIZATION(used / (used + space.f_bavail), point)
            yield USAGE(used * space.f_frsize, point)


def _mountpoint(round: Round) -> str:
    """Where the file system with the state folder is mounted."""
    folder = round.settings.state_folder
    points = {mount.point for mount in _mounts.table(round.machine)}
    return next((str(each) for each in (folder, *folder.parents) if str(each) in points), str(Path("/")))
