"""Commands to a real agent behind its leaf: enrolled, linked, commanded, cut off and killed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent import subjects
from edgeagent.link import connect, settle
from edgeagent.subjects import FLEET_ALL, SIGNERS, TRUST_BUCKET, Scope
from edgeagent.trust.signers import changed
from tests.support.commanding import Author, heard, person, result_of, results_of
from tests.support.enrolling import NewDevice
from tests.support.servers import kill, kill_leftovers, until
from tests.support.trusthub import TrustHub


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        hub.groups = ["berlin"]
        hub.signers = {hub._roles[role].public: role for role in ("operator", "admin", "group-operator")}
        yield hub
    kill_leftovers(tmp_path)


@pytest_asyncio.fixture
async def device(hub: TrustHub, tmp_path: Path) -> NewDevice:
    made = NewDevice(tmp_path / "device", reconnect_seconds=0.2)
    await made.enrolled_with(hub)
    return made


@pytest_asyncio.fixture
async def author(hub: TrustHub) -> Author:
    return Author(await hub.connect("OPS"), person(hub))


@pytest.mark.parametrize("scope", [FLEET_ALL, Scope.group("berlin"), Scope.device("pi-1")], ids=str)
async def test_each_scope_of_the_device_commands_it(device: NewDevice, author: Author, scope: Scope) -> None:
    with device.running():
        await until(lambda: device.is_linked, "it is linked")
        found = await heard(author.client, await author.send("ping", scope=scope))
        assert found.state == "succeeded" and found.value["boot"] and found.signer == "olga"
        assert (await heard(author.client, await author.send("reboot", scope=scope))).state == "refused"
    assert "runs for olga, command" in device.log


async def test_what_was_commanded_while_it_was_away_or_dead_runs_when_it_is_back(
    hub: TrustHub, device: NewDevice, author: Author
) -> None:
    away = [await author.send("ping") for _ in range(3)]
    with device.running() as agent:
        assert {each.state for each in await results_of(author.client, away)} == {"succeeded"}
        kill(agent.pid)
        agent.wait()
        dead = await author.send("ping")
        assert await result_of(author.client, dead) is None
    with device.running():
        assert (await heard(author.client, dead)).state == "succeeded"
        hub.kill()
        await until(lambda: not device.is_linked, "it is cut off")
        await hub.start()
        await until(lambda: author.client.is_connected, "the author is back")
        assert (await heard(author.client, await author.send("ping"))).state == "succeeded"


async def test_a_role_key_that_is_news_commands_though_its_bell_was_not_heard(
    hub: TrustHub, author: Author, tmp_path: Path
) -> None:
    """The document of who may sign changes and nothing rings, as if that were still on its way; then a new key gives a command."""
    hub.signers = {hub._roles["admin"].public: "admin"}
    device = NewDevice(tmp_path / "device", reconnect_seconds=0.2)
    await device.enrolled_with(hub)
    with device.running():
        await until(lambda: device.is_linked, "it is linked")
        admin = Author(author.client, person(hub, "admin", "ada"))
        assert (await heard(author.client, await admin.send("ping"))).state == "succeeded"
        js = (await hub.connect("HUB")).jetstream()
        stream = (await js.stream_info(f"KV_{TRUST_BUCKET}")).config
        await js.update_stream(stream.evolve(republish=None))
        now = {hub._roles[role].public: role for role in ("admin", "operator")}
        await js.publish(subjects.document(SIGNERS), changed(admin.login, None, now=time.time(), signers=now))
        assert (await heard(author.client, await author.send("ping"))).state == "succeeded"


async def test_a_program_on_the_device_is_asked(hub: TrustHub, author: Author, tmp_path: Path) -> None:
    device = NewDevice(tmp_path / "device", reconnect_seconds=0.2, more='[commands]\nallow = ["app.*"]')
    await device.enrolled_with(hub)
    with device.running():
        await until(lambda: device.is_linked, "it is linked")
        nobody = await heard(author.client, await author.send("app.doors.open"))
        assert nobody.state == "failed" and "nobody answers there" in nobody.reason
        status = device.status()
        assert status
        url = f"nats://127.0.0.1:{status.leaf.port}"
        doors = await connect(url, what="reach the leaf", name="doors", inbox_prefix="_INBOX.doors", reconnect=False)

        async def open_it(message: Any) -> None:
            asked = json.loads(message.data)
            await message.respond(json.dumps({"value": [asked["device"], asked["action"], asked["args"]]}).encode())

        await doors.subscribe("local.action.doors.open", cb=open_it)
        await settle(doors, what="listen")
        found = await heard(author.client, await author.send("app.doors.open", {"wide": True}))
        await doors.close()
    assert (found.state, found.value) == ("succeeded", ["pi-1", "open", {"wide": True}])
