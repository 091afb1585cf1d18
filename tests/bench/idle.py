"""CPU of an idle device at the shipped defaults (a heartbeat a minute), beside a bare nats-server with nothing to do."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from edgeagent.demo.layout import SHIPPED
from tests.bench.fleet import pid_of, running
from tests.bench.memory import bare_server

SECONDS = 60.0


async def main() -> None:
    print(f"CPU while idle, over {SECONDS:g} s (percent of one core)")
    async with running(1, SHIPPED) as fleet, bare_server() as bare:
        await asyncio.sleep(5)  # what the start left behind
        watched = {"agent": pid_of(fleet, "pi-01", "agent"), "leaf": pid_of(fleet, "pi-01", "leaf"), "bare nats-server": bare}
        before = {what: _cpu_seconds(pid) for what, pid in watched.items()}
        await asyncio.sleep(SECONDS)
        for what, pid in watched.items():
            print(f"  {what:<38} {(_cpu_seconds(pid) - before[what]) / SECONDS * 100:6.2f} %")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
