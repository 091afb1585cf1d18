"""What a usual Pi measures: a Pi 4 on the wire, on an SD card with swap, whose counters grow as they do on a quiet one."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgeagent.builtin import collectors as builtin_collectors
from edgeagent.chunk import Message, Point, Progress, encode_metrics
from edgeagent.collectors import OwnState, Round, collectors
from edgeagent.patterns.sampler import SOURCE
from edgeagent.sample import Sample
from edgeagent.settings import Settings
from tests.support import fakeroot

__all__ = ["chunk_of", "rounds"]

LEAF_PID = 812
BEGAN = 1_795_281_475.681


def rounds(folder: Path, count: int, interval_seconds: float = 30.0) -> Iterator[list[Sample]]:
    """The samples of so many rounds, without those that come once an hour. Always the same."""
    assert builtin_collectors.__path__
    draw, root = random.Random(1), fakeroot.pi_4(folder)
    own = os.getpid()
    made = {each.name: each.make() for each in collectors() if each.module.startswith("edgeagent.builtin.") and not each.seconds}
    busy = 0
    for number in range(-1, count):
        grown = interval_seconds * (number + 100)
        ticks = int(grown * 100)
        busy += int(4 * 100 * interval_seconds * draw.uniform(0.03, 0.05))
        root.write("/proc/stat", f"cpu  {busy} 0 0 {4 * ticks - busy} 0 0 0 0 0 0")
        root.write("/proc/loadavg", f"{draw.uniform(0.05, 0.3):.2f} 0.1 0.1 1/213 4711")
        root.write("/proc/uptime", f"{86_461.27 + grown} 1.0")
        available, swap = draw.randint(2_900_000, 2_910_000), draw.randint(500_000, 500_100)
        memory = f"MemTotal: 3884324 kB\nMemAvailable: {available} kB\nSwapTotal: 524272 kB\nSwapFree: {swap} kB"
        root.write("/proc/meminfo", memory)
        root.write("/sys/class/thermal/thermal_zone0/temp", str(draw.randint(45_000, 49_000)))
        for what, rate in (("rx_bytes", 900), ("tx_bytes", 300)):
            root.write(f"/sys/class/net/eth0/statistics/{what}", str(int(grown * rate) + draw.randint(0, 5000)))
        root.write("/sys/class/block/mmcblk0/stat", f"1 1 {904_120} 1 1 1 {int(grown * 3) + 2_000_000} 1 1 1 1")
        for pid, name, pages in ((own, "python3", 8_700), (LEAF_PID, "nats-server", 5_100)):
            used = int(ticks * 0.002) + draw.randint(0, 3)
            fields = ["S", "1", *["0"] * 9, str(used), "0", *["0"] * 6, "555", "0", str(pages + draw.randint(0, 40)), "0"]
            root.write(f"/proc/{pid}/stat", f"{pid} ({name}) {' '.join(fields)}")
        state = OwnState(leaf_pid=LEAF_PID, waiting=draw.randint(0, 3), forwarded=40_000 + number)
        given = Round(machine=root.machine, settings=Settings(), clock=grown, own=state)
        found = [msgspec.structs.replace(sample, time=BEGAN + grown) for each in made.values() for sample in each(given)]
        if number >= 0:  # the first one has no rates
            yield found


def chunk_of(found: list[list[Sample]], interval_seconds: float = 30.0) -> bytes:
    """The chunk that the hub gets of these rounds, each one message."""
    progress = Progress(log=int(BEGAN * 1e9), epoch=0, next=4_711 + len(found), forwarded=4_710 + len(found))
    messages = [Message(4_711 + index, int((BEGAN + index * interval_seconds) * 1e9)) for index in range(len(found))]
    points = [Point(SOURCE, sample, round(sample.time * 1000)) for samples in found for sample in samples]
    return encode_metrics(progress, messages, points)
