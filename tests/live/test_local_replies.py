"""Where the answers go that a local program has sent in its place: JetStream acknowledges to whatever reply a publisher names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio

from edgeagent import files
from edgeagent.direct import read_all
from edgeagent.errors import Unreachable
from edgeagent.leaf import apps, external
from edgeagent.leaf.apps import App
from edgeagent.leaf.conf import render
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.leaf.secrets import load_or_make
from edgeagent.link import Client, connect, settle
from edgeagent.localsubjects import LOCAL_DATA, LOCAL_METRICS, local_data, local_metric
from edgeagent.natsserver import binary, ports
from edgeagent.patterns import localstore
from edgeagent.publish import published
from tests.support.forwarding import ForwardingDevice
from tests.support.servers import PATIENCE_SECONDS, until
from tests.support.trusthub import TrustHub

DOORS = App(name="doors", password="secret-d")
LOGINS = {"without a login": {}, "with a login": {"user": DOORS.name, "password": DOORS.password}}

#: What an acknowledgement would be, if it came there: the device's word.
THE_DEVICES_VOICE = (
    "edge.from.pi-1.report",
    "edge.from.pi-1.heartbeat",
    "edge.from.pi-1.metric",
    "edge.from.pi-1.data",
    "edge.from.pi-1.result.01ABC",
    "edge.from.pi-1.event.critical",
    "edge.from.pi-1.request.renew",
    "edge.from.pi-1.reply.olga.1",
    "edge.to.device.pi-1.in.1",
    "edge.api.DIRECT.GET.EDGE_REPORTS.edge.from.pi-1.report",
    "_INBOX.ops.olga.1",
    "_INBOX.srv.olga.1",
    "$JS.ACK.LOCAL_METRIC.x.1.1.1.1.1",
    "x",
)
#: And there: a sample or message of another, or an order to the leaf's store.
ANOTHERS_VOICE = (
    local_metric("agent"),
    local_metric("agent.cpu"),
    local_metric("windows"),
    local_data("windows"),
    "$JS.API.STREAM.PURGE.LOCAL_METRIC",
    "$JS.API.STREAM.DELETE.LOCAL_METRIC",
    "$JS.API.STREAM.MSG.DELETE.LOCAL_METRIC",
    "$JS.pi-1.API.STREAM.PURGE.LOCAL_METRIC",
    "$SYS.REQ.SERVER.PING",
)


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        yield hub


@pytest_asyncio.fixture
async def device(hub: TrustHub, tmp_path: Path) -> AsyncIterator[ForwardingDevice]:
    async with ForwardingDevice(hub, tmp_path / "pi-1").leaf_running() as device:
        apps.save(device.leaf.options.apps_file, {DOORS.name: DOORS})
        await device.leaf.apply()
        yield device


class Ear:
    """Everything that a client hears."""

    def __init__(self, client: Client) -> None:
        self.client, self.subjects = client, list[str]()

    async def listen(self, *subjects: str) -> Ear:
        async def hear(message: Any) -> None:
            self.subjects.append(message.subject)

        for subject in subjects:
            await self.client.subscribe(subject, cb=hear)
        await settle(self.client, what="listen")
        return self


async def publish_for(device: ForwardingDevice, login: dict[str, str], replies: tuple[str, ...]) -> int:
    """A program's samples and messages, to be acknowledged there; how many, when the last is."""
    inbox = f"_INBOX.{login.get('user', 'x')}".encode()
    program = await nats.connect(device.leaf.url, inbox_prefix=inbox, allow_reconnect=False, **login)
    subjects = (local_metric("doors" if login else "x"), local_data("doors" if login else "x"))
    try:
        for subject in subjects:
            for reply in replies:
                await program.publish(subject, b"1", reply=reply)
            await published(program, subject, b"1", timeout=PATIENCE_SECONDS)
        return len(replies) + 1
    finally:
        await program.close()


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
async def test_no_acknowledgement_reaches_the_hub_in_the_devices_name(
    hub: TrustHub, device: ForwardingDevice, login: dict[str, str]
) -> None:
    ears = [await Ear(await hub.connect(account)).listen("edge.>", "_INBOX.ops.>", "_INBOX.srv.>") for account in ("HUB", "OPS")]
    ears.append(await Ear(await hub.connect("FLEET")).listen(">"))
    own = await Ear(device.client).listen("edge.>", "_INBOX.>", "$JS.ACK.>", "x")

    async def linked() -> bool:
        await device.client.publish("edge.from.pi-1.event.debug", b"first")
        return "edge.from.pi-1.event.debug" in ears[0].subjects

    await until(linked, "the device is linked")
    await publish_for(device, login, THE_DEVICES_VOICE)
    # What crossed the link did so before this.
    await device.client.publish("edge.from.pi-1.event.info", b"the last word")
    await until(lambda: "edge.from.pi-1.event.info" in ears[0].subjects, "the device is heard")
    heard = {subject for ear in (*ears, own) for subject in ear.subjects}
    assert heard & set(THE_DEVICES_VOICE) == set()
    assert [subject for subject in ears[2].subjects if subject.startswith(("local.", "_R_.", "$JS."))] == []


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
async def test_no_acknowledgement_is_stored_as_anothers_nor_obeyed(device: ForwardingDevice, login: dict[str, str]) -> None:
    orders: list[str] = []

    async def note(message: Any) -> None:
        orders.append(json.loads(message.data)["subject"])

    await device.client.subscribe("$JS.EVENT.ADVISORY.API", cb=note)
    await settle(device.client, what="listen")
    count = await publish_for(device, login, ANOTHERS_VOICE)
    own = "doors" if login else "x"
    for stream, subject in ((LOCAL_METRICS, local_metric(own)), (LOCAL_DATA, local_data(own))):
        assert (await device.js.stream_info(stream, subjects_filter=">")).state.subjects == {subject: count}
    await until(lambda: f"$JS.API.STREAM.INFO.{LOCAL_DATA}" in orders, "the leaf says who asked for what")
    assert {*orders} == {f"$JS.API.STREAM.INFO.{stream}" for stream in (LOCAL_METRICS, LOCAL_DATA)}


async def test_programs_hear_the_agents_samples_and_the_agent_theirs(device: ForwardingDevice) -> None:
    program, agent = Ear(await nats.connect(device.leaf.url)), Ear(device.client)
    agents, theirs = [local_metric("agent"), local_metric("agent.hw")], [local_metric("x"), local_data("x")]
    try:
        await program.listen("local.>")
        await agent.listen("local.>")
        for subject in agents:
            await published(device.client, subject, b"1")
        for subject in theirs:
            await published(program.client, subject, b"1")
        for ear in (program, agent):
            await until(lambda ear=ear: len(ear.subjects) >= 4, "all is heard")  # type: ignore[misc]
            await settle(ear.client, what="hear no more")
            assert sorted(ear.subjects) == sorted([*agents, *theirs]), "once"
    finally:
        await program.client.close()


async def test_what_is_acknowledged_while_the_leaf_is_told_of_changes_is_stored_once(device: ForwardingDevice) -> None:
    """Each such change makes the way to the streams anew; what the leaf does not take meanwhile it says at once."""
    program, acknowledged, done = await nats.connect(device.leaf.url), list[int](), asyncio.Event()

    async def publish() -> None:
        number = 0
        while not done.is_set():
            with contextlib.suppress(Unreachable):
                await published(program, local_data("x"), str(number).encode())
                acknowledged.append(number)
            number += 1

    publishing = asyncio.create_task(publish())
    try:
        for _ in range(5):
            before = len(acknowledged)
            await device.leaf.redial()
            await until(lambda before=before: len(acknowledged) > before, "it goes on")  # type: ignore[misc]
        done.set()
        await publishing
        stored = [int(item.data) async for item in read_all(device.client, LOCAL_DATA, local_data(), prefix="$JS.API")]
        assert sorted({*stored}) == sorted(stored) and {*acknowledged} <= {*stored}
    finally:
        publishing.cancel()
        await program.close()


def begun(chosen: LeafOptions) -> subprocess.Popen[bytes]:
    return subprocess.Popen([binary.find().path, "-c", chosen.config_file], stderr=subprocess.DEVNULL)


async def test_a_leaf_of_systemds_takes_up_the_account_without_a_restart(tmp_path: Path) -> None:
    """One that runs with the configuration of a version that had no such account, and is only told of the new one."""
    chosen = LeafOptions(device_id="pi-1", server_name="pi-1-x", folder=tmp_path / "state", port=ports.pick(), mode="external")
    files.make_folder(chosen.folder, 0o700)
    external.allow_unit(chosen.folder)
    head, _, rest = render(chosen.conf(load_or_make(chosen.folder / "secrets.json"), chosen.port)).partition("accounts {")
    before = "EDGE { jetstream: enabled, users: [ { user: app, password: x } ] }, SYS { users: [ { user: sys, password: x } ] }"
    chosen.config_file.write_text(f"{head}accounts {{ {before} }}\nsystem_account: SYS{rest.partition('system_account: SYS')[2]}")
    unit = begun(chosen)
    try:
        await external.until_it_answers(chosen.port, chosen.server_name)
        leaf = Leaf(chosen)
        await leaf.start()
        agent = await connect(leaf.url, what="be the agent", name="a", inbox_prefix="_INBOX.a", password=leaf.agent_login)
        program = await connect(leaf.url, what="be a program", name="p", inbox_prefix="_INBOX.p")
        await localstore.ensure(agent, 64 << 20)

        async def stored() -> bool:
            with contextlib.suppress(Unreachable):
                return bool(await published(program, local_metric("x"), b"1"))
            return False

        await until(stored, "a program's sample is stored")
        assert unit.poll() is None
        for client in (agent, program):
            await client.close()
    finally:
        unit.kill()
        unit.wait()
