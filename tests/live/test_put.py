"""Samples and messages of local programs: `edgeagent put`, the program on docs/apps.md, and whom the leaf lets speak."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import files, localsubjects
from edgeagent.leaf import apps
from edgeagent.leaf.apps import App
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import connect
from edgeagent.natsserver import ports
from edgeagent.natsserver.supervisor import State, Timing
from edgeagent.patterns import localstore
from tests.support.fleet import Said
from tests.support.servers import PATIENCE_SECONDS, kill, kill_leftovers, until

PAGE = (Path(__file__).parents[2] / "docs" / "apps.md").read_text(encoding="utf-8")
PROGRAM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
DOORS, LIFT = App(name="doors", password="secret"), App(name="lift", password="other")


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
    apps.save(made.options.apps_file, {"doors": DOORS, "lift": LIFT})
    await made.start()
    agent = await connect(made.url, what="be the agent", name="agent", inbox_prefix="_INBOX.agent", password=made.agent_login)
    await localstore.ensure(agent, 64 << 20)
    await agent.close()
    yield made
    await made.stop()
    kill_leftovers(tmp_path)


def environment(leaf: Leaf, app: App | None = None) -> dict[str, str]:
    """Of a program with that login, or without one."""
    text = apps.environment(app, leaf.url) if app else f"NATS_URL={leaf.url}\n"
    return dict(line.split("=", 1) for line in text.splitlines())


async def put(leaf: Leaf, *words: str, app: App | None = None, given: bytes = b"") -> Said:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgeagent", "put", *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment(leaf, app)},
    )
    out, err = await asyncio.wait_for(process.communicate(given), PATIENCE_SECONDS)
    return Said(process.returncode or 0, out.decode(), err.decode())


async def stored(leaf: Leaf, stream: str) -> list[tuple[str, bytes]]:
    client = await connect(leaf.url, what="look", name="look", inbox_prefix="_INBOX.agent", password=leaf.agent_login)
    js = client.jetstream()
    last = (await js.stream_info(stream)).state.last_seq
    found = [await js.get_msg(stream, number) for number in range(1, last + 1)]
    await client.close()
    return [(str(each.subject), each.data or b"") for each in found]


@pytest.mark.parametrize(
    ("words", "given", "subject", "payload"),
    [
        pytest.param(["water.level", "0.82"], b"", "water.level", b"0.82", id="a number"),
        pytest.param(["outside", "-4.5"], b"", "outside", b"-4.5", id="below zero"),
        pytest.param(["water", "level=1", "ok=true", "side=n 1"], b"", "water", b'{"level":1,"ok":true,"side":"n 1"}', id="keys"),
        pytest.param(["water", "-"], b"level value=3 1\n", "water", b"level value=3 1\n", id="line protocol"),
        pytest.param(["water", '{"a":1}'], b"", "water", b'{"a":1}', id="JSON"),
    ],
)
async def test_samples_are_on_disk_when_it_ends(leaf: Leaf, words: list[str], given: bytes, subject: str, payload: bytes) -> None:
    said = await put(leaf, *words, given=given)
    assert (said.code, said.out, said.err) == (0, "", "")
    assert await stored(leaf, localsubjects.LOCAL_METRICS) == [(f"local.metric.{subject}", payload)]


async def test_a_message_may_have_any_bytes(leaf: Leaf) -> None:
    photo = bytes(range(256)) * 2048
    assert (await put(leaf, "--data", "camera.photo", "-", given=photo)).code == 0
    assert (await put(leaf, "--data", "camera", "hello world")).code == 0
    assert await stored(leaf, localsubjects.LOCAL_DATA) == [
        ("local.data.camera.photo", photo),
        ("local.data.camera", b"hello world"),
    ]


async def test_a_program_speaks_as_itself_and_as_nobody_else(leaf: Leaf) -> None:
    assert (await put(leaf, "doors", "open=1", app=DOORS)).code == 0
    assert (await put(leaf, "--data", "doors.log", "x", app=DOORS)).code == 0
    for app in (LIFT, None):
        said = await put(leaf, "doors", "open=1", app=app)
        assert said.code == 1 and "this login may not speak as 'doors'" in said.err and "doors.env" in said.err, said
    assert len(await stored(leaf, localsubjects.LOCAL_METRICS)) == 1


async def test_without_a_leaf_it_is_said_and_exits_with_1(leaf: Leaf) -> None:
    await leaf.stop()
    said = await put(leaf, "water", "1")
    assert said.code == 1 and "nothing listens at" in said.err and "edgeagent status" in said.err


async def test_the_program_on_the_page_keeps_each_line_whatever_restarts(leaf: Leaf, tmp_path: Path) -> None:
    assert len(PROGRAM.splitlines()) <= 25
    script = tmp_path / "doors.py"
    script.write_text(PROGRAM)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "errors").open("wb"),
        env={"PATH": os.environ["PATH"], **environment(leaf, DOORS)},
    )
    assert process.stdin and process.stdout
    for number in (1, 2, 3):
        process.stdin.write(b"line %d\n" % number)
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS) == b"kept %d\n" % number
        pid = leaf.pid
        if number == 1 and pid:
            kill(pid)
            await until(lambda pid=pid: leaf.state is State.RUNNING and leaf.pid not in (pid, None), "the leaf is back")  # type: ignore[misc]
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    lines = [data for _, data in await stored(leaf, localsubjects.LOCAL_DATA)]
    samples = [json.loads(data) for _, data in await stored(leaf, localsubjects.LOCAL_METRICS)]
    assert list(dict.fromkeys(lines)) == [b"line 1", b"line 2", b"line 3"]
    assert list(dict.fromkeys(sample["scans"] for sample in samples)) == [1, 2, 3]
