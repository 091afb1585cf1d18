"""Configuration through outages: a device away during many changes, a hub whose store went back or was lost, a server killed while
people write. Whatever was acknowledged reaches every device, and a step back is named by everybody who sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import lastgood, subjects, wire
from edgeagent.direct import read_all
from edgeagent.errors import EdgeError, Refused
from edgeagent.files import Lock
from edgeagent.fleet import Fleet
from edgeagent.fleet.config import STREAM
from edgeagent.hub import streams
from edgeagent.link import Client, connect, request
from edgeagent.localsubjects import local_config
from edgeagent.subjects import FLEET_ALL, Scope, scopes_of
from edgeagent.trust.signed import peek
from tests.support.administering import inside
from tests.support.configuring import state_of
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet, Said, cli, online, start_cli
from tests.support.hub import answers, started
from tests.support.servers import is_alive, kill, until

KITCHEN = Scope.group("kitchen")
#: pi-01 is in berlin and kitchen, pi-02 in munich and office, pi-03 in hamburg and kitchen.
GROUPS = {"pi-01": ("berlin", "kitchen"), "pi-02": ("munich", "office"), "pi-03": ("hamburg", "kitchen")}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("outages"), 3) as fleet:
        yield fleet


@pytest.fixture
def hub(running: LiveFleet) -> Iterator[LiveFleet]:
    """Every test leaves documents of its own behind, and one of them a hub that has lost everything."""
    with running.borrowed() as fleet:
        yield fleet


# ---- what is waited for ----------------------------------------------------------------------------------------------------


async def documents_of(fleet: Fleet, device: str) -> dict[str, int]:
    """The generation of each document that the hub has for the device."""
    found = [await fleet.config.read(scope) for scope in scopes_of(device, GROUPS[device])]
    return {str(version.scope): version.generation for version in found if version.is_there}


async def follows(fleet: Fleet, device: str) -> bool:
    """Whether the device says that it follows all that the hub has for it, and nothing else."""
    said = {scope: (state.desired, state.applied, state.error) for scope, state in (await reported(fleet, device)).scopes.items()}
    wanted = {scope: (number, number, "") for scope, number in (await documents_of(fleet, device)).items()}
    return bool(wanted) and said == wanted


async def all_follow(*devices: str) -> None:
    """The hub may be on its way back."""

    async def whole() -> bool:
        with contextlib.suppress(EdgeError):
            async with Fleet() as fleet:
                return all([await follows(fleet, device) for device in devices])
        return False

    await until(whole, f"{devices} follow the newest documents", PATIENCE_SECONDS)


async def reported(fleet: Fleet, device: str) -> wire.ConfigState:
    return await state_of(fleet.client, device)


def kept(hub: LiveFleet, device: str) -> dict[str, lastgood.Kept]:
    """What the device would start with."""
    return lastgood.load(hub.layout.device(device))


async def of_program(hub: LiveFleet, device: str, name: str) -> Any:
    """What a program on the device is told."""
    client = await connect(hub.leaf_url(device), what="reach the leaf", name="a", inbox_prefix="_INBOX.a", reconnect=False)
    try:
        return json.loads((await request(client, local_config(name), what="ask for my configuration")).data)
    finally:
        await client.close()


async def config(*words: str) -> Said:
    """``edgeagent config WORDS``, in a process of its own."""
    said = await asyncio.to_thread(cli, "config", *words)
    assert said.code == 0, said
    return said


async def rows() -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads((await config("status", "--json")).out)}


# ---- a device is away --------------------------------------------------------------------------------------------------------


async def test_the_newest_of_thirty_changes_counts_after_the_link_came_back(hub: LiveFleet) -> None:
    scopes = (FLEET_ALL, KITCHEN, Scope.device("pi-01"))
    await asyncio.to_thread(hub.cut_and_known, "pi-01")
    async with Fleet() as fleet:
        for number in range(1, 11):
            for scope in scopes:
                if number % 5 == 0:
                    await fleet.config.rollback(scope)
                else:
                    await fleet.config.set(scope, {"app.away.number": number, f"app.away.{scope.kind}": number})
        await until(lambda: follows(fleet, "pi-03"), "who was there follows them")
        before = await documents_of(fleet, "pi-01")
        assert (
            kept(hub, "pi-01").keys().isdisjoint({"group.kitchen"})
            or kept(hub, "pi-01")["group.kitchen"].generation != before["group.kitchen"]
        )
        hub.restore("pi-01")
        await until(lambda: follows(fleet, "pi-01"), "who was away follows them", PATIENCE_SECONDS)
    # The last rollback was from what the ninth change made to what the eighth did.
    wanted = {"number": 8, "fleet": 8, "group": 8, "device": 8}
    assert await of_program(hub, "pi-01", "away") == wanted
    assert {scope: one.generation for scope, one in kept(hub, "pi-01").items()} == before


async def test_a_bell_that_nobody_heard_is_made_good_by_the_timer(hub: LiveFleet) -> None:
    """pi-01 looks every second, the others every ten minutes."""
    async with Fleet() as fleet, inside(hub) as inner:
        every_second = await fleet.config.set(Scope.device("pi-01"), {"agent.documents_seconds": 1.0}, force=True)
        await fleet.config.set(FLEET_ALL, {"app.bell.number": 1}, force=True)
        await all_follow(*hub.ids)
        js = inner.jetstream()
        rang = await inner.subscribe("edge.to.*.*.config")
        mute = (await js.stream_info(STREAM)).config
        mute.republish = None
        await js.update_stream(mute)
        try:
            unheard = await fleet.config.set(FLEET_ALL, {"app.bell.number": 2})
            await until(lambda: follows(fleet, "pi-01"), "who looks has found it")
            assert (await reported(fleet, "pi-02")).scopes["fleet.all"].applied < unheard.generation
            assert rang.pending_msgs == 0, "else this test proves nothing"
        finally:
            assert await streams.ensure(js, hub.hub.options().store_max_bytes) == [STREAM]
        await fleet.config.set(FLEET_ALL, {"app.bell.number": 3})
        await all_follow(*hub.ids)
        assert (await fleet.config.read(Scope.device("pi-01"))).generation == every_second.generation


# ---- the hub is killed while people write ------------------------------------------------------------------------------------


async def test_what_was_acknowledged_while_the_hub_was_killed_reaches_every_device(hub: LiveFleet) -> None:
    """Two people write at once, two instances of the hub's services run beside the server that is killed."""
    acknowledged: dict[str, dict[int, int]] = {"olga": {}, "otto": {}}
    over = asyncio.Event()

    async def write(who: str) -> None:
        async with Fleet() as fleet:
            for number in itertools.count(1):
                if over.is_set():
                    return
                with contextlib.suppress(EdgeError):
                    made = await fleet.config.set(FLEET_ALL, {f"app.chaos.{who}": number}, force=True)
                    acknowledged[who][number] = made.generation
                await asyncio.sleep(0.02)

    with started(start_cli("hub", "serve", "--dir", str(hub.hub.path))):
        writing = [asyncio.create_task(write(who)) for who in acknowledged]
        try:
            for _ in range(3):
                await _both_wrote(acknowledged)
                await _server_killed(hub)
            await _both_wrote(acknowledged)
        finally:
            over.set()
            await asyncio.gather(*writing)
        await all_follow(*hub.ids)
    for device in hub.ids:
        values = await of_program(hub, device, "chaos")
        assert all(values[who] >= max(done) for who, done in acknowledged.items())
    async with inside(hub) as inner:
        wanted = {generation for done in acknowledged.values() for generation in done.values()}
        await until(lambda: _audited(inner, wanted), "the audit has every acknowledged document")


async def _both_wrote(acknowledged: dict[str, dict[int, int]]) -> None:
    """Twice more than they had."""
    enough = {who: len(done) + 2 for who, done in acknowledged.items()}
    await until(lambda: all(len(done) >= enough[who] for who, done in acknowledged.items()), "both have written")


async def _server_killed(hub: LiveFleet) -> None:
    """And started again by ``hub up``."""
    killed = hub.hub_pid("server")
    kill(killed)

    def is_another() -> bool:
        with contextlib.suppress(OSError, ValueError):  # the file is written just now
            return hub.hub_pid("server") != killed
        return False

    await until(is_another, "the server is started again")


async def _audited(inner: Client, wanted: set[int]) -> bool:
    found = read_all(inner, "EDGE_AUDIT", subjects.document(FLEET_ALL), prefix="$JS.API")
    return wanted <= {peek(item.data).number async for item in found}


# ---- the hub goes back -------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def stopped(hub: LiveFleet) -> AsyncIterator[Path]:
    """Within the block neither ``hub up`` nor its nats-server runs; afterwards they are started again. Gives JetStream's folder."""
    lock, told = Lock(hub.hub.lock, "keep the hub from being started"), set[int]()

    def is_ours() -> bool:
        """Whoever supervises the hub starts it again: it may have been faster than we."""
        with contextlib.suppress(Refused):
            lock.acquire()
            return True
        with contextlib.suppress(ProcessLookupError, ValueError):  # it ends, or its pid is written just now
            if (running := hub.hub_pid("hub")) not in told:
                told.add(running)
                os.kill(running, signal.SIGTERM)
        return False

    await until(is_ours, "the hub ended", PATIENCE_SECONDS)
    if is_alive(server := hub.hub_pid("server")):  # it was ended before it could have ended its server
        os.kill(server, signal.SIGTERM)
    await until(lambda: not is_alive(server), "its server ended", PATIENCE_SECONDS)
    try:
        yield hub.hub.path / "store" / "jetstream"
    finally:
        lock.release()
    await until(lambda: answers(hub.hub), "the hub answers again", PATIENCE_SECONDS)


async def five_changes() -> None:
    async with Fleet() as fleet:
        for number in range(1, 3):
            await fleet.config.set(FLEET_ALL, {"device.labels.season": f"summer-{number}"})
            await fleet.config.set(KITCHEN, {"app.oven.degrees": 200 + number})
        await fleet.config.set(Scope.device("pi-01"), {"app.oven.door": "open"})


async def events_of(fleet: Fleet, device: str) -> list[wire.Event]:
    found = read_all(fleet.client, "EDGE_EVENTS", f"edge.from.{device}.event.*")
    return [wire.decode(item.data, wire.Event) async for item in found]


def took_back(folder: Path, backup: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)


def lost(folder: Path, backup: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("went_back", "words"), [(took_back, "an older configuration"), (lost, "no configuration")], ids=["restored", "wiped"]
)
async def test_a_hub_that_went_back(hub: LiveFleet, tmp_path: Path, went_back: Callable[[Path, Path], None], words: str) -> None:
    """pi-01 sees it all, pi-02 misses the five changes and all that follows, pi-03 all but the five changes."""
    scopes = (FLEET_ALL, KITCHEN, Scope.device("pi-01"))
    async with Fleet() as fleet:
        await fleet.config.set(FLEET_ALL, {"device.labels.season": "winter"}, force=True)
        await fleet.config.set(KITCHEN, {"app.oven.degrees": 180}, force=True)
        await fleet.config.set(Scope.device("pi-01"), {"app.oven.door": "shut"}, force=True)
    await all_follow(*hub.ids)
    async with stopped(hub) as folder:
        shutil.copytree(folder, tmp_path / "backup")
    await asyncio.to_thread(hub.until, "pi-01 and pi-03 are back", lambda found: {"pi-01", "pi-03"} <= set(online(found)))
    hub.cut("pi-02")
    await five_changes()
    await all_follow("pi-01", "pi-03")
    hub.cut("pi-03")
    followed = {device: kept(hub, device) for device in hub.ids}
    async with stopped(hub) as folder:
        went_back(folder, tmp_path / "backup")

    async def says_so() -> bool:
        with contextlib.suppress(EdgeError):
            async with Fleet() as fleet:
                states = (await reported(fleet, "pi-01")).scopes
            return all(str(scope) in states and states[str(scope)].error for scope in scopes)
        return False

    await until(says_so, "the device says that the hub went back", PATIENCE_SECONDS)
    async with Fleet() as fleet:
        report = await reported(fleet, "pi-01")
        for scope in scopes:
            state = report.scopes[str(scope)]
            assert state.desired < state.applied == followed["pi-01"][str(scope)].generation
        wanted = {"device.labels.season": "summer-2", "app.oven.degrees": 202, "app.oven.door": "open"}
        assert wanted.items() <= report.values.items()
        assert "config.hub_went_back" in [event.kind for event in await events_of(fleet, "pi-01")]
        ours = await fleet.query("labels.season == 'summer-2'", devices=["pi-01"])
    assert online(ours) == ["pi-01"]
    assert kept(hub, "pi-01") == followed["pi-01"]
    assert await of_program(hub, "pi-01", "oven") == {"degrees": 202, "door": "open"}
    row = (await rows())["pi-01"]
    assert row["error"].count(words) == 3 and row["desired"] != row["applied"]
    assert words in next(line for line in (await config("status")).out.splitlines() if line.startswith("pi-01"))

    await config("set", "--fleet", "device.labels.season=autumn")
    await config("set", "-g", "kitchen", "app.oven.degrees=220")
    await config("set", "-d", "pi-01", "app.oven.door=ajar")
    await all_follow("pi-01")
    for device in ("pi-02", "pi-03"):
        assert kept(hub, device) == followed[device]
        hub.restore(device)
    await all_follow(*hub.ids)
    assert {device: row["error"] for device, row in (await rows()).items()} == dict.fromkeys(hub.ids)
    assert (await of_program(hub, "pi-03", "oven"))["degrees"] == 220
    async with Fleet() as fleet:
        assert {(await reported(fleet, device)).values["device.labels.season"] for device in hub.ids} == {"autumn"}
