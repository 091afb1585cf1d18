"""The agent as a process of its own, without a hub: its start and its end, its lock, and what becomes of its leaf."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edgeagent import interpreter, places, settings, status, wire
from edgeagent.assembly.device import Agent as InProcess
from edgeagent.assembly.deviceleaf import LeafConnections
from edgeagent.cli import local
from edgeagent.errors import Closed, EdgeError, Unreachable
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.options import LeafOptions
from edgeagent.link import Client, connect
from edgeagent.natsserver import binary, ports
from edgeagent.status import Status
from tests.support import fakeroot
from tests.support.fleet import PATIENCE_SECONDS, Said
from tests.support.servers import PlainHub, is_alive, kill, kill_leftovers, until


class Agent:
    """An agent below ``folder``, its words in ``agent.log``, and what it tells systemd."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder, self.state = folder, folder / "state"
        self.port = ports.pick()
        self.settings = folder / "agent.toml"
        self.configure(more)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(folder / "notify"))
        self.systemd.setblocking(False)

    def configure(self, more: str = "", *, runtime: str = "run") -> None:
        self.settings.write_text(
            f'[device]\nid = "pi-1"\n[paths]\nstate = "state"\nruntime = "{runtime}"\n'
            f"[agent]\nheartbeat_seconds = 1\n[query]\n{more if more.startswith('[') else '[leaf]' + chr(10) + more}\n"
            + ("" if "port =" in more else f"port = {self.port}\n")
        )

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")}
        with (self.folder / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                interpreter.argv("edgeagent.assembly.agent", str(self.settings)), stderr=log, env=environment
            )
        self.processes.append(process)
        return process

    async def until_told(self, word: str) -> list[str]:
        """What systemd was told until ``word`` came."""
        told: list[str] = []
        while word not in told:
            message = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.systemd, 4096), PATIENCE_SECONDS)
            told += message.decode().splitlines()
        return told

    async def running(self) -> subprocess.Popen[bytes]:
        process = self.start()
        await self.until_told("READY=1")
        return process

    def said(self) -> str:
        return (self.folder / "agent.log").read_text()

    def status(self) -> Status:
        return status.read(self.folder / "run" / "status.json")

    @property
    def leaf_pid(self) -> int:
        return int((self.state / "leaf.pid").read_text())

    def leaf_says(self, words: str) -> int:
        return (self.state / "leaf.log").read_text().count(words)

    @contextlib.asynccontextmanager
    async def inside(self) -> AsyncIterator[Client]:
        """A connection to the leaf with the agent's own rights."""
        secret = json.loads((self.state / "secrets.json").read_text())["agent"]
        url = f"nats://127.0.0.1:{self.status().leaf.port}"
        client = await connect(url, what="look inside", name="test", inbox_prefix="_INBOX.test", password=("agent", secret))
        try:
            yield client
        finally:
            await client.close()

    async def answers(self) -> bool:
        """Whether it answers a query now."""
        with contextlib.suppress(EdgeError, TimeoutError, asyncio.TimeoutError):
            async with self.inside() as client:
                answers = await client.subscribe("edge.from.pi-1.reply.olga.*")
                query = wire.Query(token=os.urandom(4).hex())
                await client.publish("edge.to.fleet.all.query", wire.encode(query), reply="_INBOX.ops.olga.x")
                return b'"match"' in (await answers.next_msg(timeout=1)).data
        return False

    def end(self, process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
        process.send_signal(number)
        return process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                process.wait(PATIENCE_SECONDS)
        self.systemd.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.close()
    kill_leftovers(tmp_path)


async def test_a_clean_life(agent: Agent) -> None:
    process = await agent.running()
    leaf = agent.leaf_pid
    assert (agent.folder / "run" / "agent.pid").read_text() == f"{process.pid}\n"
    assert stat.S_IMODE((agent.state / "agent.lock").stat().st_mode) == 0o600
    assert is_alive(leaf) and await agent.answers()
    await until(lambda: leaf_of(agent, "running"), "the status file says so")
    found = agent.status().leaf
    assert (found.port, found.version, found.pid) == (agent.port, binary.find().version, leaf)
    assert agent.end(process) == 0
    assert not is_alive(leaf)
    assert "STOPPING=1" in await agent.until_told("STOPPING=1")


async def test_a_closed_terminal_ends_it_with_its_leaf(agent: Agent) -> None:
    process = await agent.running()
    leaf = agent.leaf_pid
    assert agent.end(process, signal.SIGHUP) == 0 and not is_alive(leaf)


async def test_a_card_that_was_made_on_another_board_is_said(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """A stop that is asked for already ends it before its leaf is started."""
    machine = fakeroot.pi_4(agent.folder / "root").machine
    stop = asyncio.Event()
    stop.set()
    agent.state.mkdir(0o700)
    for serial, count in (("another", 1), (None, 1)):
        if serial:
            (agent.state / "instance").write_text(json.dumps({"suffix": "a1b2c3d4", "serial": serial}))
        async with InProcess(settings.load(agent.settings), stop, machine) as inside:
            await inside.run()
        warnings = [record.getMessage() for record in caplog.records if "another board" in record.getMessage()]
        assert len(warnings) == count and warnings[0].startswith("this installation was made on another board (another)")
    assert not (agent.state / "leaf.pid").exists()


# ---- the lock --------------------------------------------------------------------------------------------------------------


async def test_one_agent_at_a_time_whatever_the_runtime_folder(agent: Agent) -> None:
    first = await agent.running()
    leaf = agent.leaf_pid
    agent.configure(runtime="another")
    said = device(str(agent.settings))
    assert said.code == 1 and f"already running as pid {first.pid}" in said.err
    assert is_alive(leaf) and await agent.answers()
    agent.end(first)
    await agent.running()
    assert (agent.folder / "another" / "agent.pid").exists()


async def test_another_runtime_folder_does_not_make_the_leaf_another_one(agent: Agent) -> None:
    first = await agent.running()
    leaf = agent.leaf_pid
    kill(first.pid)
    first.wait()
    agent.configure(runtime="another")
    await agent.running()
    assert agent.leaf_pid == leaf and is_alive(leaf), "it was taken over"


async def test_who_locks_the_pid_file_blocks_nobody(agent: Agent) -> None:
    """Anybody may read that file, and flock needs no more."""
    (agent.folder / "run").mkdir()
    with (agent.folder / "run" / "agent.pid").open("w") as stranger:
        fcntl.flock(stranger, fcntl.LOCK_EX)
        process = await agent.running()
        assert agent.end(process) == 0


def device(*arguments: str, cwd: Path | None = None) -> Said:
    """Run the agent's module to its end."""
    done = subprocess.run(
        interpreter.argv("edgeagent.assembly.agent", *arguments),
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=PATIENCE_SECONDS,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def test_settings_that_are_named_must_be_there(tmp_path: Path) -> None:
    said = device(str(tmp_path / "agent.toml"))
    assert said.code == 1 and f"cannot read {tmp_path}/agent.toml: there is no such file" in said.err


@pytest.mark.parametrize("there", [True, False])
def test_run_hands_on_a_file_that_is_there_and_none_for_all_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Only the words: an agent with all defaults would work on the machine's own folders."""
    words: list[str] = []
    file = tmp_path / "agent.toml"
    monkeypatch.setattr(places, "SYSTEM_SETTINGS", file)
    monkeypatch.setattr(places, "is_root", lambda: True)
    monkeypatch.delenv("EDGEAGENT_SETTINGS", raising=False)
    monkeypatch.setattr(os, "execv", lambda program, argv: words.extend(argv))
    if there:
        file.touch()
    local.run()
    assert words == interpreter.argv("edgeagent.assembly.agent", *([str(file)] if there else []))


def test_nothing_in_the_current_folder_is_run(tmp_path: Path) -> None:
    (tmp_path / "asyncio.py").write_text("raise SystemExit('somebody else was run')")
    said = device(str(tmp_path / "none.toml"), cwd=tmp_path)
    assert "somebody else" not in said.err and "there is no such file" in said.err


# ---- a start that takes long -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_it_can_be_ended_while_the_leaf_starts(tmp_path: Path, number: signal.Signals) -> None:
    """A server that never gets ready, as with a large store on a slow card."""
    server = tmp_path / "server"
    server.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "nats-server: v2.15.1" && exit\nexec sleep 3600\n')
    server.chmod(0o755)
    agent = Agent(tmp_path, f'server = "{server}"')
    try:
        process = agent.start()
        await until((agent.state / "leaf.pid").exists, "the leaf is started")
        leaf = agent.leaf_pid
        await until(lambda: agent.status().leaf.state == "starting", "the status file says so")
        assert agent.end(process, number) == 0
        assert not is_alive(leaf) and "Traceback" not in agent.said()
    finally:
        agent.close()


# ---- beginning anew --------------------------------------------------------------------------------------------------------


async def test_a_connection_that_is_ended_for_good_is_no_end_of_the_agent(agent: Agent) -> None:
    process = await agent.running()
    leaf = agent.leaf_pid
    async with agent.inside():  # one more than there may be: nats-server ends those that came last
        pass
    with (agent.state / "leaf.conf").open("a") as config:
        config.write("max_connections: 1\n")
    os.kill(leaf, signal.SIGHUP)
    told = await agent.until_told("READY=1")
    assert "STOPPING=1" not in told and process.poll() is None
    assert "the server closed the connection (maximum connections exceeded); the agent begins anew" in agent.said()
    await until(agent.answers, "it answers again")


async def test_a_leaf_that_moved_is_kept(agent: Agent) -> None:
    process = await agent.running()
    before = agent.leaf_pid
    process.send_signal(signal.SIGSTOP)
    kill(before)
    await until(lambda: ports.is_free(agent.port), "the leaf's port is free")
    other = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", agent.port)
    process.send_signal(signal.SIGCONT)
    told = await agent.until_told("READY=1")
    assert "STOPPING=1" not in told and process.poll() is None
    assert "the leaf moved from" in agent.said()
    await until(lambda: agent.status().leaf.port != agent.port, "the status file says so")
    await until(agent.answers, "it answers")
    assert agent.leaf_says("Server is ready") == 2, "the one that had moved goes on"
    other.close()
    assert agent.end(process) == 0


async def test_a_leaf_that_failed_for_good_ends_the_agent_with_the_reason(tmp_path: Path) -> None:
    server = tmp_path / "nats-server"
    server.symlink_to(binary.find().path)
    agent = Agent(tmp_path, f'server = "{server}"')
    try:
        process = await agent.running()
        server.unlink()
        kill(agent.leaf_pid)
        assert process.wait(PATIENCE_SECONDS) == 1
        assert agent.said().splitlines()[-1].startswith(f"edgeagent: cannot start nats-server: there is no file {server}")
    finally:
        agent.close()
        kill_leftovers(tmp_path)


async def test_connections_that_were_never_opened_hide_no_error(tmp_path: Path) -> None:
    leaf = Leaf(LeafOptions(device_id="pi-1", server_name="pi-1-x", folder=tmp_path, port=ports.pick(), mode="external"))
    with pytest.raises(Unreachable):
        await leaf.start(timeout=0.1)
    links = LeafConnections(leaf, "pi-1", on_back=lambda: None, on_lost=lambda error: None)
    with pytest.raises(Unreachable, match="nothing listens"):
        await links.open()
    await links.close()
    with pytest.raises(Closed):
        _ = links.agent


# ---- a leaf that systemd runs ----------------------------------------------------------------------------------------------


class Unit:
    """In systemd's place: the process of edgeagent-leaf.service, its words in a file."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.journal = agent, agent.folder / "journal"

    def start(self) -> subprocess.Popen[bytes]:
        with self.journal.open("ab") as journal:
            argv = [binary.find().path, "-c", self.agent.state / "leaf.conf"]
            process = subprocess.Popen(argv, stderr=journal, stdout=journal)
        self.agent.processes.append(process)
        return process

    def says(self, words: str) -> bool:
        return words in self.journal.read_text()


def leaf_of(agent: Agent, state: str) -> bool:
    return agent.status().leaf.state == state


async def test_an_external_leaf(tmp_path: Path) -> None:
    agent = Agent(tmp_path, 'mode = "external"')
    unit = Unit(agent)
    try:
        process = agent.start()
        await until((agent.state / "leaf.external").exists, "the unit may start")
        nothing = f"the leaf is starting: nothing answers at nats://127.0.0.1:{agent.port}"
        await until(lambda: wrong(agent)[0] == nothing, "the status file says so")
        assert "sudo systemctl start edgeagent-leaf" in agent.status().problems[0].remedy

        served = unit.start()
        await agent.until_told("READY=1")
        await until(lambda: leaf_of(agent, "running"), "it is running")
        found = agent.status().leaf
        assert (found.mode, found.port, found.version) == ("external", agent.port, binary.find().version)
        assert await agent.answers()

        kill(served.pid)
        served.wait()
        await until(lambda: leaf_of(agent, "starting"), "it is away")
        assert wrong(agent)[0] == nothing
        served = unit.start()
        await until(lambda: leaf_of(agent, "running"), "it is back")
        await until(agent.answers, "it answers again")

        assert agent.end(process) == 0 and served.poll() is None, "it is its owner's"
        async with PlainHub(tmp_path / "hub") as hub:
            agent.configure(f'[hub]\nurls = ["{hub.leaf_url}"]\n[leaf]\nmode = "external"')
            await agent.running()
            await until(lambda: unit.says("Reloaded server configuration"), "it was told of its new configuration")
            await until(lambda: unit.says("Leafnode connection created"), "it links to the hub")
    finally:
        agent.close()
        kill_leftovers(tmp_path)


def wrong(agent: Agent) -> list[str]:
    return [problem.what for problem in agent.status().problems]


async def test_a_managed_leaf_and_one_of_systemds_never_share_a_store(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    try:
        process = await agent.running()
        leaf = agent.leaf_pid
        kill(process.pid)
        process.wait()
        agent.configure('mode = "external"')
        agent.start()
        await until((agent.state / "leaf.external").exists, "the unit may start")
        await until(lambda: not is_alive(leaf), "the one that was left running is ended")
        agent.end(agent.processes[-1])
        agent.configure()
        await agent.running()
        assert not (agent.state / "leaf.external").exists(), "the unit may not start any more"
    finally:
        agent.close()
        kill_leftovers(tmp_path)
