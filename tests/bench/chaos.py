"""Commands in chaos: 500 of them to five devices while links are cut and agents, leaves and the hub are killed; then everything that must
be true is looked at, and the exit code says whether it is. ``SEED=7 make bench ONLY=chaos`` draws the same once more.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edgeagent.demo.layout import QUICK
from tests.support.chaos import Ended, Weather, chaos

__all__ = ["main", "summary"]


async def main() -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10_000))
    print(f"500 commands to 5 devices, everything killed by chance (SEED={seed})")
    weather = Weather(seed=seed, commands=500, devices=5, pace=QUICK, apart=0.35, calm=0.8)
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as folder:
        ended = await asyncio.to_thread(chaos, Path(folder), weather)
    for line in summary(ended):
        print(f"  {line}")
    if ended.wrong:
        print("\n".join(["wrong:", *ended.wrong]))
        sys.exit(1)
    print("  each has one end, what succeeded ran once, and only what was hit is unknown")


def summary(ended: Ended) -> Iterator[str]:
    """What happened, in lines for people."""
    record = ended.record
    states = Counter(found[-1].state for device in record.devices.values() for found in device.results.values())
    told, cancelled = sum(bool(sent.error) for sent in record.sent), sum(sent.cancelled for sent in record.sent)
    yield f"{len(record.sent)} commands, {told} of them not acknowledged to their sender, {cancelled} cancelled"
    yield f"{record.cuts} cuts, kill -9 of {_counted(Counter(kill.what for kill in record.kills))}"
    yield f"ends on devices: {_counted(states)}"
    yield f"{ended.storm:.0f} s of it, all had ended {ended.healing:.1f} s later; longest time without an end {ended.silence:.1f} s"
    yield f"longest time until a sender knew {max((sent.seconds for sent in record.sent), default=0):.1f} s"


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in found.most_common()) or "nothing"
