"""CPU of an idle device at the shipped defaults (a heartbeat a minute), beside a bare nats-server with nothing to do, and one that has a stream with
one message: its file store wakes it up."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import nats

from edgeagent.demo.layout import SHIPPED
from tests.bench.fleet import pid_of, running
from tests.bench.memory import bare_server
from tests.support.servers import PlainHub

SECONDS = 60.0


async def main() -> None:
    print(f"CPU while idle, over {SECONDS:g} s (percent of one core)")
    with tempfile.TemporaryDirectory() as folder:
        async with running(1, SHIPPED) as fleet, bare_server() as bare, PlainHub(Path(folder)) as storing:
            await _watch(
                {
                    "agent": pid_of(fleet, "pi-01", "agent"),
                    "leaf": pid_of(fleet, "pi-01", "leaf"),
                    "bare nats-server": bare,
                    "bare nats-server with a message": await _with_a_message(storing),
                }
            )


async def _with_a_message(server: PlainHub) -> int:
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(name="ONE", subjects=["one"])
    await client.jetstream().publish("one", b"1")
    await client.close()
    return server.pid


async def _watch(watched: dict[str, int]) -> None:
    await asyncio.sleep(5)  # what the start left behind
    before = {what: _cpu_seconds(pid) for what, pid in watched.items()}
    await asyncio.sleep(SECONDS)
    for what, pid in watched.items():
        print(f"  {what:<38} {(_cpu_seconds(pid) - before[what]) / SECONDS * 100:6.2f} %")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
