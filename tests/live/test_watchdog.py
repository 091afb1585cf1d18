"""systemd's watchdog and a real agent: this is systemd, as far as the agent can tell (sd_notify(3), systemd.service(5), WatchdogSec=)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent import wire
from tests.live.test_device import Agent
from tests.support.servers import is_alive, kill_leftovers, until

#: A plugin whose fact blocks, in the event loop, while a file is there.
PLUGIN = """
import pathlib, time
from edgeagent.registry import Field, facts

@facts("stuck", Field("stuck", "bool", "Whether it is.", volatile=True))
def read(machine):
    folder = pathlib.Path(__file__).parent
    while (folder / "block").exists():
        (folder / "blocked").touch()
        time.sleep(0.05)
    return {"stuck": False}
"""
SECONDS = 0.2


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    plugins = tmp_path / "plugins"
    (plugins / "stuck-1.dist-info").mkdir(parents=True)
    (plugins / "stuck-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: stuck\nVersion: 1\n")
    (plugins / "stuck-1.dist-info" / "entry_points.txt").write_text("[edgeagent.facts]\nstuck = stuck\n")
    (plugins / "stuck.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(plugins))
    monkeypatch.setenv("WATCHDOG_USEC", str(round(SECONDS * 1_000_000)))
    agent = Agent(tmp_path)
    yield agent
    (plugins / "block").unlink(missing_ok=True)
    agent.close()
    kill_leftovers(tmp_path)


async def test_an_agent_that_hangs_is_fed_no_longer_and_the_next_one_goes_on(agent: Agent) -> None:
    process = await agent.running()
    leaf = agent.leaf_pid
    for _ in range(3):
        await agent.until_told("WATCHDOG=1")

    block = agent.folder / "plugins" / "block"
    block.touch()
    async with agent.inside() as client:
        query = wire.Query(token="q", select=["stuck"])
        await client.publish("edge.to.fleet.all.query", wire.encode(query), reply="_INBOX.ops.olga.x")
        await client.flush()
        await until((block.parent / "blocked").exists, "the loop is blocked")
    with contextlib.suppress(BlockingIOError):
        while True:
            agent.systemd.recv(4096)  # what was said before
    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(agent.systemd, 4096), 2 * SECONDS)

    process.send_signal(signal.SIGABRT)  # as systemd does now, and then starts it again
    process.wait(60)
    block.unlink()
    await agent.running()
    await agent.until_told("WATCHDOG=1")
    assert agent.leaf_pid == leaf and is_alive(leaf), "local programs did not notice"
    await until(agent.answers, "it answers")
