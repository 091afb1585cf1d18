"""An agent that has nothing to do but its daily work carries nothing that it does not need for that."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.support.fleet import LiveFleet
from tests.support.servers import is_alive, kill, until

DEVICE = "pi-03"
#: What is mapped when OpenSSL is loaded: 5 MiB more.
OPENSSL = re.compile(r"/(_ssl|_hashlib)\.[^/]*\.so$|/lib(ssl|crypto)\.so", re.MULTILINE)


def has_sent_samples(fleet: LiveFleet) -> bool:
    now = fleet.status(DEVICE)
    sent = now.forward.get("metric")
    return bool(sent and sent.acknowledged and now.sampling and now.sampling.collectors)


async def restarted(fleet: LiveFleet, what: str) -> None:
    """Kill DEVICE's agent or leaf and wait until another one answers."""
    before = fleet.pid(DEVICE, what)
    kill(before)
    await until(lambda: not is_alive(before), f"the {what} died")
    await until(lambda: fleet.pid(DEVICE, what) != before, f"another {what} runs")
    await asyncio.to_thread(fleet.whole)


async def test_an_agent_that_is_linked_samples_and_forwards_has_no_openssl(fleet: LiveFleet) -> None:
    await restarted(fleet, "agent")  # one that no other test has asked for anything
    await restarted(fleet, "leaf")  # nor does one load it that dialled and met nobody
    await until(lambda: has_sent_samples(fleet), "its samples are at the hub")
    maps = Path(f"/proc/{fleet.pid(DEVICE)}/maps").read_text()
    assert re.search(r"/_sqlite3\.[^/]*\.so$|sqlite3\.so", maps, re.MULTILINE), "what is loaded shows"
    assert not OPENSSL.search(maps)
