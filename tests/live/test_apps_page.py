"""The programs on docs/apps.md, run as they stand there: they act on the value at their start and on each change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import files
from edgeagent.leaf import apps
from edgeagent.leaf.apps import AGENT_INBOX, App
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect
from edgeagent.natsserver import ports
from edgeagent.natsserver.supervisor import State, Timing
from edgeagent.patterns.appconfig import AppConfig
from tests.support.fleet import LiveFleet, cli
from tests.support.servers import PATIENCE_SECONDS, kill, until

PAGE = (Path(__file__).parents[2] / "docs" / "apps.md").read_text(encoding="utf-8")
DOORS = App(name="doors", password="secret")
LANGUAGES = ["python", "bash"]
#: A device of the shared fleet.
DEVICE = "pi-02"


def program(language: str) -> str:
    """The first on the page of that language: the one about configuration."""
    return str(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[0])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_is_short(language: str) -> None:
    assert 5 < len(program(language).splitlines()) <= 25


@pytest_asyncio.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[Leaf]:
    made = Leaf(
        LeafOptions(
            device_id="pi-01",
            server_name="pi-01-x",
            folder=tmp_path / "state",
            port=ports.pick(),
            timing=Timing(first_seconds=0.1, cap_seconds=0.5),
        )
    )
    files.make_folder(made.options.folder, 0o700)
    apps.save(made.options.apps_file, {"doors": DOORS})
    await made.start()
    yield made
    await made.stop()


async def agent_with(leaf: Leaf, opens: str) -> tuple[Client, AppConfig]:
    """An agent's connection, and the configuration that it begins with."""
    client = await connect(leaf.url, what="be the agent", name="agent", inbox_prefix=AGENT_INBOX, password=leaf.local_login)
    config = AppConfig(client)
    await config.set({"doors": {"open": opens}})
    await config.start()
    return client, config


@contextlib.asynccontextmanager
async def running(folder: Path, language: str, environment: str) -> AsyncIterator[asyncio.StreamReader]:
    """The program with nothing but its environment file, and `edgeagent` on its path; what it prints."""
    command = folder / "bin" / "edgeagent"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgeagent "$@"\n')
    command.chmod(0o755)
    script = folder / "doors"
    script.write_text(program(language))
    variables = dict(line.split("=", 1) for line in environment.splitlines())
    process = await asyncio.create_subprocess_exec(
        {"python": sys.executable, "bash": "bash"}[language],
        str(script),
        env={"HOME": str(folder), "PATH": f"{command.parent}:{os.environ['PATH']}", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=(folder / "errors").open("wb"),
        start_new_session=True,
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def line(out: asyncio.StreamReader) -> str:
    return (await asyncio.wait_for(out.readline(), PATIENCE_SECONDS)).decode().strip()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_program_acts_at_its_start_and_at_each_change_whatever_restarts(
    leaf: Leaf, tmp_path: Path, language: str
) -> None:
    agent, config = await agent_with(leaf, "07:00")
    async with running(tmp_path, language, apps.environment(DOORS, leaf.url)) as out:
        assert await line(out) == "the doors open at 07:00"
        await config.set({"doors": {"open": "06:30"}})
        assert await line(out) == "the doors open at 06:30"

        pid = leaf.pid
        assert pid
        kill(pid)
        await until(lambda: leaf.state is State.RUNNING and leaf.pid not in (pid, None), "the leaf was started again")
        await until(lambda: agent.is_connected, "the agent is connected again")
        await config.set({"doors": {"open": "09:00"}})
        assert await line(out) == "the doors open at 09:00"

        await agent.close()
        agent, config = await agent_with(leaf, "10:00")
        assert await line(out) == "the doors open at 10:00", "what changed while there was no agent"
        await config.set({})
        assert await line(out) == "the doors open at 08:00", "its own default"
    await agent.close()
    complaints = (tmp_path / "errors").read_text()
    assert complaints and "Traceback" not in complaints, "an outage is said, and in few words"


def said(*words: str) -> str:
    done = cli(*words)
    assert done.code == 0, done.err
    return done.out


async def test_from_the_operator_to_the_program_and_without_a_link(fleet: LiveFleet, tmp_path: Path) -> None:
    settings = str(fleet.layout.settings(DEVICE))
    said("app", "add", "doors", "--settings", settings)
    environment = (fleet.layout.device(DEVICE) / "apps" / "doors.env").read_text()
    try:
        async with running(tmp_path / "first", "python", environment) as first:
            assert await line(first) == "the doors open at 08:00"
            said("config", "set", "-d", DEVICE, "app.doors.open=07:00")
            assert await line(first) == "the doors open at 07:00"

            fleet.cut_and_known(DEVICE)
            pid = fleet.pid(DEVICE)
            kill(pid)
            await until(lambda: fleet.pid(DEVICE) != pid, "the agent was started again")
            async with running(tmp_path / "second", "bash", environment) as second:
                assert await line(second) == "the doors open at 07:00", "kept without a link"
                said("config", "set", "-d", DEVICE, "app.doors.open=09:00")
                fleet.restore(DEVICE)
                assert await line(second) == "the doors open at 09:00", "caught up"
            assert await line(first) == "the doors open at 09:00"
        local = said("config", "local", "--changed", "--settings", settings)
        assert ["app.doors.open", '"09:00"', "device.pi-02"] in [row.split() for row in local.splitlines()]
    finally:
        cli("config", "unset", "-d", DEVICE, "app.doors.open")
        cli("app", "rm", "doors", "--settings", settings)
