"""A device that is killed between every two steps of its journal: what ran is known, or said to be unknown; it never runs twice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.commanding import Author, CommandDevice, heard, person, pins_of
from tests.support.servers import PATIENCE_SECONDS, until
from tests.support.trusthub import TrustHub

#: What the commits of one command change, in order. linked: the journal knows its hub. recovering: at the start, nothing to change. taken: the log's entry and the
#: command. claimed: the hub knows of it. begun, ended, settled: the hub has its outcome.
STEPS = ("linked", "recovering", "position", "taken", "claimed", "begun", "ended", "settled")
WORDS = {
    "INSERT INTO hub": "linked",
    "UPDATE commands SET fence = NULL": "recovering",
    "UPDATE commands SET settled = 0": "position",
    "INSERT INTO commands": "taken",
    "UPDATE commands SET fence = ?": "claimed",
    "UPDATE commands SET boot": "begun",
    "UPDATE commands SET state": "ended",
    "UPDATE commands SET settled = 1": "settled",
}
#: Killed here, nobody can know whether it ran.
UNKNOWN = {("begun", "after"), ("ended", "before")}


class Child:
    """The device as a process of its own."""

    def __init__(self, hub: TrustHub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.credentials = folder.parent / "service.creds"

    @property
    def commits(self) -> list[str]:
        path = self.folder / "commits"
        found = path.read_text().splitlines() if path.exists() else []
        return [next((word for words, word in WORDS.items() if line.startswith(words)), line) for line in found]

    @contextlib.asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        self.credentials.write_text(self.hub._service("FLEET").format())
        self.credentials.chmod(0o600)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.commandchild", str(self.folder)),
            *(f"nats://127.0.0.1:{self.hub.port}", str(self.credentials), *words),
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)


@pytest_asyncio.fixture
async def child(tmp_path: Path) -> AsyncIterator[tuple[Child, Author]]:
    async with TrustHub(tmp_path / "hub") as hub:
        CommandDevice(await hub.connect("FLEET"), tmp_path / "device").trust(pins_of(hub))
        yield Child(hub, tmp_path / "device"), Author(await hub.connect("OPS"), person(hub))


async def test_one_command_takes_these_steps(child: tuple[Child, Author], tmp_path: Path) -> None:
    device, author = child
    name = await author.send("test.append", {"path": str(tmp_path / "out")})
    async with device.running():
        await heard(author.client, name)
        await until(lambda: "settled" in device.commits, "it has settled")
    assert tuple(device.commits) == STEPS


@pytest.mark.parametrize("action", ["test.append", "test.again"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_killed_between_two_steps(child: tuple[Child, Author], tmp_path: Path, step: str, when: str, action: str) -> None:
    device, author = child
    out = tmp_path / "out"
    name = await author.send(action, {"path": str(out)})
    async with device.running(when, str(STEPS.index(step) + 1)) as process:
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == -signal.SIGKILL
    assert device.commits[-1] == step
    async with device.running():
        found = await heard(author.client, name)
        ran = len(out.read_text().split()) if out.exists() else 0
        last = await author.send("test.append", {"path": str(tmp_path / "last")})
        assert (await heard(author.client, last)).state == "succeeded"
    if action == "test.again":
        assert found.state == "succeeded" and ran == (2 if (step, when) == ("ended", "before") else 1)
    elif (step, when) in UNKNOWN:
        assert found.state == "unknown" and ran == (step == "ended")
    else:
        assert found.state == "succeeded" and ran == 1
