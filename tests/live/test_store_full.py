"""A full disk, a real one: programs hear an error, commands are refused, and all flows again when there is space."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest
import pytest_asyncio
from nats.js.errors import APIError

from edgeagent import localsubjects
from edgeagent.errors import EdgeError, Failed
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.leaf.storelimit import choose
from edgeagent.link import Client, connect, settle
from edgeagent.natsserver import ports
from edgeagent.natsserver.supervisor import Timing
from edgeagent.patterns import localstore
from edgeagent.patterns.storehealth import StoreHealth, write_error
from edgeagent.publish import published
from edgeagent.runtime import Tasks
from edgeagent.status import Problem
from tests.support.servers import kill_leftovers, until
from tests.support.smalldisk import SmallDisk, small_disk

METRIC, DATA = localsubjects.local_metric("app"), localsubjects.local_data("app.photo")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 48) as disk:
        yield disk
        kill_leftovers(disk.path)


@pytest_asyncio.fixture
async def leaf(disk: SmallDisk) -> AsyncIterator[Leaf]:
    folder = disk.path / "state"
    folder.mkdir(mode=0o700)
    made = Leaf(
        LeafOptions(
            device_id="pi-1",
            server_name="pi-1-x",
            folder=folder,
            port=ports.pick(),
            store_max_bytes=choose(folder, 512 << 20, 256 << 20).limit_bytes,
            timing=Timing(first_seconds=0.1, cap_seconds=0.5),
        )
    )
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def agent(leaf: Leaf) -> AsyncIterator[Client]:
    client = await connect(leaf.url, what="be the agent", name="agent", inbox_prefix="_INBOX.agent", password=leaf.agent_login)
    await localstore.ensure(client, leaf.options.store_max_bytes)
    yield client
    await client.close()


@pytest_asyncio.fixture
async def program(leaf: Leaf) -> AsyncIterator[Client]:
    client = await connect(leaf.url, what="be a program", name="program", inbox_prefix="_INBOX.program")
    yield client
    await client.close()


class Watched:
    """The health of the leaf's store, and what it said."""

    def __init__(self, client: Client, leaf: Leaf, *, managed: bool = True) -> None:
        self.problems: list[Problem | None] = []
        self.told: list[str] = []
        self.health = StoreHealth(
            client,
            leaf.options.folder,
            restart=leaf.restart if managed else None,
            remedy="`sudo systemctl restart edgeagent-leaf`",
            on_change=self.problems.append,
            tell=lambda severity, kind, text: self.told.append(kind),
        )

    @property
    def problem(self) -> str:
        last = self.problems[-1] if self.problems else None
        return f"{last.what}. {last.remedy}" if last else ""


async def stored(client: Client, subject: str, data: bytes = b"1") -> bool:
    """Whether it is on disk; False for an error and for no answer."""
    try:
        await published(client, subject, data, timeout=0.5)
    except EdgeError:
        return False
    return True


async def die(disk: SmallDisk, client: Client, *subjects: str) -> None:
    """Fill the disk, and have the streams meet that."""
    disk.fill()
    for subject in subjects:
        while await stored(client, subject, b"1" + b" " * 8000):
            pass


async def test_programs_hear_an_error_and_all_flows_again_when_there_is_space(
    disk: SmallDisk, leaf: Leaf, agent: Client, program: Client
) -> None:
    watched, tasks = Watched(agent, leaf), Tasks()
    assert await write_error(agent, localsubjects.LOCAL_METRICS) == ""
    tasks.start("health", watched.health.run())
    first = await published(program, METRIC, b"7")
    await die(disk, program, METRIC, DATA)
    await until(lambda: len(watched.health.dead) == 2, "it is noticed")
    await until(lambda: "no space left on the disk" in watched.problem, "it is said")
    for subject in (METRIC, DATA):
        with pytest.raises(Failed, match="not stored: no space left on device"):
            await published(program, subject, b"1")
        with pytest.raises(APIError, match="not stored"):  # as programs with nats-py see it
            await program.jetstream().publish(subject, b"1")

    pid = leaf.pid
    disk.drain()
    await until(lambda: leaf.pid not in (pid, None), "the leaf is restarted")
    for subject in (METRIC, DATA):

        async def flows(subject: str = subject) -> bool:
            return program.is_connected and await stored(program, subject)

        await until(flows, f"{subject} is stored again", 60)
    await until(lambda: watched.problems[-1] is None, "all is well")
    kept = await agent.jetstream().get_msg(localsubjects.LOCAL_METRICS, first)
    assert kept.data == b"7", "what was acknowledged before is there"
    assert watched.told == ["store.dead", "store.good"] and leaf.restarts == 0
    await tasks.close()


async def test_an_external_leaf_is_its_owners_to_restart(disk: SmallDisk, leaf: Leaf, agent: Client, program: Client) -> None:
    watched, pid = Watched(agent, leaf, managed=False), leaf.pid
    await die(disk, program, METRIC)
    await watched.health.look()
    assert "no space left" in watched.problem and set(watched.health.dead) == {localsubjects.LOCAL_METRICS}
    disk.drain()
    await watched.health.look()
    assert "until the leaf is restarted" in watched.problem and "systemctl restart edgeagent-leaf" in watched.problem
    assert leaf.pid == pid
    await leaf.restart()
    await until(lambda: agent.is_connected, "the agent is back")
    await watched.health.look()
    assert watched.problems[-1] is None and watched.told == ["store.dead", "store.good"]


async def test_it_does_not_answer_where_programs_may_not_and_not_for_a_stream_that_lives(
    disk: SmallDisk, leaf: Leaf, agent: Client, program: Client
) -> None:
    watched = Watched(agent, leaf, managed=False)
    await die(disk, program, METRIC)
    await watched.health.look()
    devices, programs = list[str](), list[str]()

    async def hear(message: Any) -> None:
        devices.append(message.subject)

    async def overhear(message: Any) -> None:
        programs.append(message.subject)

    for subject in ("edge.>", "_INBOX.*.mine"):
        await agent.subscribe(subject, cb=hear)
    await program.subscribe("_INBOX.*.mine", cb=overhear)
    await settle(agent, what="listen")
    for reply in ("edge.from.pi-1.report", "_INBOX.ops.mine", "_INBOX.program.mine"):
        await program.publish(METRIC, b"1", reply=reply)
    await until(lambda: len(programs) == 2, "they are answered")
    await settle(agent, what="hear what the agent said")
    assert programs == ["_INBOX.ops.mine", "_INBOX.program.mine"] and devices == []
    answers = await asyncio.gather(*(program.request(DATA, b"", timeout=5) for _ in range(2)), return_exceptions=True)
    words = [json.loads(answer.data) for answer in answers if not isinstance(answer, BaseException)]
    assert all("seq" in word and "error" not in word for word in words), "one answer each, the stream's own"
    assert all(isinstance(answer, nats.errors.TimeoutError) for answer in answers if isinstance(answer, BaseException))
