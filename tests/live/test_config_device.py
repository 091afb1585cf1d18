"""A running agent and its configuration: how the layers merge, and what a restart, a crash or a bad disk leaves.

The device is in the groups berlin and kitchen, in this order, until a test says otherwise.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from edgeagent import lastgood, subjects, wire
from edgeagent.direct import get_last
from edgeagent.lastgood import FILE
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust.signed import sign
from tests.support.configured import DEVICE, ID, Configured, Rig, configured, rigged
from tests.support.configuring import Writer, state_of
from tests.support.fleet import cli, online
from tests.support.servers import until

BERLIN, KITCHEN, ATTIC = Scope.group("berlin"), Scope.group("kitchen"), Scope.group("attic")
STREAM = f"KV_{subjects.CONFIG_BUCKET}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    with configured(tmp_path_factory.mktemp("device"), "berlin", "kitchen") as pi:
        yield pi


@pytest_asyncio.fixture
async def rig(running: Configured) -> AsyncIterator[Rig]:
    async with rigged(running) as made:
        yield made


# ---- layers ------------------------------------------------------------------------------------------------------------------

WORDS = {FLEET_ALL: "fbkd", BERLIN: "bkd", KITCHEN: "kd", ATTIC: "kda", DEVICE: "d"}


def of_layer(scope: Scope) -> dict[str, Any]:
    return {f"app.layers.{word}": str(scope) for word in WORDS[scope]}


async def in_groups(rig: Rig, *groups: str) -> None:
    """Wait until the device says so."""

    async def there() -> bool:
        stored = await get_last(rig.client, "EDGE_REPORTS", subjects.report(ID))
        return stored is not None and wire.decode(stored.data, wire.Report).facts["groups"] == list(groups)

    await until(there, f"it is in {groups}")


def group(verb: str, name: str) -> None:
    said = cli("device", "group", verb, name, ID)
    assert said.code == 0, said


async def test_the_layers_and_a_change_of_groups(rig: Rig) -> None:
    for scope in (DEVICE, KITCHEN, ATTIC, FLEET_ALL, BERLIN):
        await (rig.put if scope == ATTIC else rig.set)(of_layer(scope), scope)
    assert await rig.pi.table("layers") == {"f": "fleet.all", "b": "group.berlin", "k": "group.kitchen", "d": "device.pi-1"}

    await asyncio.to_thread(group, "rm", "berlin")
    await in_groups(rig, "kitchen")
    left = await rig.pi.reports(rig.client, lambda state: "group.berlin" not in state.scopes, "what berlin said counts no more")
    assert left.values == {f"app.layers.{word}": "fleet.all" for word in "fb"} | {
        "app.layers.k": "group.kitchen",
        "app.layers.d": "device.pi-1",
    }
    assert await rig.pi.table("layers") == {"f": "fleet.all", "b": "fleet.all", "k": "group.kitchen", "d": "device.pi-1"}

    await asyncio.to_thread(group, "add", "attic")
    await in_groups(rig, "kitchen", "attic")
    await rig.pi.reports(rig.client, lambda state: state.values.get("app.layers.a") == "group.attic", "what attic says counts")
    assert (await rig.pi.table("layers"))["k"] == "group.attic"

    await asyncio.to_thread(group, "add", "berlin")
    await in_groups(rig, "kitchen", "attic", "berlin")
    await rig.pi.reports(rig.client, lambda state: state.values.get("app.layers.b") == "group.berlin", "berlin is back, last")
    assert await rig.pi.table("layers") == {
        "f": "fleet.all",
        "b": "group.berlin",
        "k": "group.berlin",
        "d": "device.pi-1",
        "a": "group.attic",
    }


async def test_agent_toml_is_below_all_of_them_and_above_the_defaults(rig: Rig) -> None:
    await rig.set({"agent.heartbeat_seconds": 1.5, "agent.documents_seconds": 5})
    state = await state_of(rig.client, ID)
    assert state.values == {"agent.heartbeat_seconds": 1.5, "agent.documents_seconds": 5}
    assert state.settings["agent.heartbeat_seconds"] == 1.0 and "agent.documents_seconds" not in state.settings


# ---- other versions ----------------------------------------------------------------------------------------------------------


async def test_an_operator_of_another_age(rig: Rig) -> None:
    """Names that the device does not know, in the values and around them: told, and no error."""
    values = {
        "agent": {"mood": "good", "heartbeat_seconds": 1.75},
        "tomorrow": {"x": {"y": [1]}},
        "hub": {"proxy": "http://x:1"},
    }
    number = int(time.time() * 1000)
    body = json.dumps({"values": values, "note": "n", "v": 7, "expires": "never"}).encode()
    data = sign(rig.fleet.login, kind="config", scope=DEVICE, number=number, at=number // 1000, body=body)
    await Writer.of(rig.fleet).raw(DEVICE, json.dumps({**json.loads(data), "v": 9, "future": {"a": 1}}).encode())
    await rig.pi.follows(rig.client, DEVICE, number)
    state = await state_of(rig.client, ID)
    assert sorted(state.scopes[str(DEVICE)].ignored) == ["agent.mood", "hub.proxy", "tomorrow.x.y"]
    assert state.values == {"agent.heartbeat_seconds": 1.75}

    async def beats() -> bool:
        return await rig.pi.heartbeat_seconds(rig.client) == 1.75

    await until(beats, "it beats as it was told")
    await rig.restarted()
    again = (await state_of(rig.client, ID)).scopes[str(DEVICE)].ignored
    assert sorted(again) == ["agent.mood", "hub.proxy", "tomorrow.x.y"]


# ---- last known good ---------------------------------------------------------------------------------------------------------


async def test_without_a_link_it_starts_with_what_it_followed_last(rig: Rig) -> None:
    await rig.set({"app.doors.x": 1, "agent.heartbeat_seconds": 1.5, "device.labels.rack": "9"})
    rig.pi.stop()
    rig.pi.cut()
    newer = await rig.put({"app.kitchen.x": 2}, KITCHEN)
    rig.pi.start()
    try:
        await rig.pi.ready()
        assert await rig.pi.table("doors") == {"x": 1} and await rig.pi.table("kitchen") == {}
        assert not rig.pi.device.is_linked
    finally:
        rig.pi.restore()
    await rig.pi.follows(rig.client, KITCHEN, newer)
    assert await rig.pi.heartbeat_seconds(rig.client) == 1.5 and await rig.pi.table("kitchen") == {"x": 2}
    assert online(await rig.fleet.query(labels=["rack=9"])) == [ID]


async def test_a_crash_forgets_nothing(rig: Rig) -> None:
    """Killed in the moment in which it says that it follows."""
    await rig.set({"app.doors.x": 1})
    rig.pi.cut()
    rig.pi.kill()
    rig.pi.start()
    await rig.pi.ready()
    assert await rig.pi.table("doors") == {"x": 1}


async def test_a_damaged_file_is_told_and_read_again(rig: Rig) -> None:
    await rig.set({"app.doors.x": 1, "agent.heartbeat_seconds": 1.5})
    good = rig.pi.kept
    before = len(await rig.pi.events(rig.client, "config.lost"))
    rig.pi.stop()
    (rig.pi.device.state / FILE).write_bytes(good[: len(good) // 2])
    rig.pi.start()
    await rig.pi.linked()
    await until(lambda: rig.pi.kept == good, "all of it is kept again")
    assert await rig.pi.table("doors") == {"x": 1}

    async def told() -> bool:
        return len(await rig.pi.events(rig.client, "config.lost")) == before + 1

    await until(told, "it says so")
    assert "config.json" in (await rig.pi.events(rig.client, "config.lost"))[-1].text


async def test_what_another_version_kept_does_not_stop_it(rig: Rig) -> None:
    """The rest of it counts, and is followed by what the hub has next."""
    await rig.set({"app.doors.x": 1})
    state = rig.pi.device.state
    documents = lastgood.load(state)
    kept = documents[str(DEVICE)]
    bad = msgspec.structs.replace(kept, values={"agent": {"heartbeat_seconds": "hourly", "facts_seconds": 5}, **kept.values})
    rig.pi.stop()
    rig.pi.cut()
    lastgood.save(state, {**documents, str(DEVICE): bad})
    rig.pi.start()
    await rig.pi.ready()
    assert await rig.pi.table("doors") == {"x": 1}
    rig.pi.restore()
    text = "cannot use all of the kept configuration for device.pi-1: agent.heartbeat_seconds = 'hourly': it must be a number"
    await rig.pi.told(rig.client, "config.lost", text)
    wanted = {"agent.facts_seconds": 5, "app.doors.x": 1}
    await rig.pi.reports(rig.client, lambda state: state.values == wanted, "the rest of it counts")
    await rig.set({"app.doors.x": 2})


async def test_a_disk_that_keeps_nothing_is_told_and_tried_again(rig: Rig) -> None:
    """A folder in the place of the file, as a disk cannot be filled here."""
    await rig.set({"agent.documents_seconds": 1})
    path = rig.pi.device.state / FILE
    path.unlink()
    path.mkdir()
    number = await rig.put({"app.kitchen.x": 3, "agent.heartbeat_seconds": 1.5}, KITCHEN)
    state = await rig.pi.reports(rig.client, lambda state: "not kept" in state.scopes["group.kitchen"].error, "it says so")
    assert (state.scopes["group.kitchen"].applied, state.scopes["group.kitchen"].desired) == (number, number)
    assert state.scopes["group.kitchen"].error.startswith(f"it is followed, but not kept: cannot write {path}: it is a folder")
    assert await rig.pi.table("kitchen") == {"x": 3}
    path.rmdir()
    await rig.pi.follows(rig.client, KITCHEN, number)
    assert lastgood.load(rig.pi.device.state)["group.kitchen"].generation == number
    assert rig.pi.is_alive
