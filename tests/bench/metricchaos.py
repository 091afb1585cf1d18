"""What devices measure, in chaos: three devices publish numbered samples and messages while links are cut, and leaves, agents and the hub's
server are frozen and killed. Then every acknowledged number must be at the hub, once and in order; the exit code says whether they are.
``SEED=7 make bench ONLY=metricchaos`` draws the same once more, ``SECONDS=600`` lasts longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from pathlib import Path

from edgeagent.demo.layout import QUICK
from tests.support.metricchaos import Weather, metric_chaos

__all__ = ["main"]


async def main() -> None:
    seed, seconds = int(os.environ.get("SEED") or random.randrange(10_000)), float(os.environ.get("SECONDS") or 120)
    print(f"samples and messages of 3 devices for {seconds:g} s, everything cut, frozen and killed by chance (SEED={seed})")
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as folder:
        weather = Weather(seed=seed, devices=3, seconds=seconds, pace=QUICK, calm=1.5, away=2.0)
        ended = await asyncio.to_thread(metric_chaos, Path(folder), weather)
    print(f"  {', '.join(f'{count} {what}' for what, count in ended.breaks.most_common())}")
    for (device, name), line in ended.lines.items():
        print(f"  {device} {name:<6} {line.published:>7,} published, {len(line.acknowledged):>7,} acknowledged by the leaf")
    print(f"  all was at the hub {ended.healing:.1f} s after the storm")
    if ended.wrong:
        print("\n".join(["wrong:", *ended.wrong]))
        sys.exit(1)
    print("  each is there once, and in order")
