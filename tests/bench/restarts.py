"""How long the fleet is not whole after ``kill -9`` of one part, at the demo's pace and at the shipped defaults.

Whole: all three devices answer a query. systemd's part (start again after 2 s) is played by the demo.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from edgeagent.demo.layout import QUICK, SHIPPED, Pace
from edgeagent.demo.story import until
from tests.bench.fleet import running


async def main() -> None:
    print("kill -9, and whole again after (seconds)   demo's pace   shipped defaults")
    quick, shipped = await _all(QUICK), await _all(SHIPPED)
    for what, seconds in quick.items():
        print(f"  {what:<40} {seconds:8.1f}      {shipped[what]:8.1f}")
    print("  promised                                     10            90")


async def _all(pace: Pace) -> dict[str, float]:
    async with running(3, pace) as fleet:
        device, hub = fleet.folder.device("pi-01"), fleet.folder.hub
        return {
            "agent": await _after(device / "agent.pid"),
            "leaf": await _after(device / "leaf.pid"),
            "the hub's nats-server": await _after(hub / "server.pid"),
            "hub up": await _after(hub / "hub.pid"),
        }


async def _after(pid_file: Path) -> float:
    old = int(pid_file.read_text())
    begun = time.monotonic()
    os.kill(old, signal.SIGKILL)
    # Until the death shows, the fleet still looks whole: there must be a new process as well.
    await until("whole", lambda outcome: _replaced(pid_file, old) and len(outcome.answered) == 3, patience=180)
    return time.monotonic() - begun


def _replaced(pid_file: Path, old: int) -> bool:
    text = pid_file.read_text().strip()
    return text.isdigit() and int(text) != old and Path(f"/proc/{text}").exists()
