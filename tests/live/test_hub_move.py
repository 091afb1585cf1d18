"""A device that is sent to another hub and back by signed configuration, and to places that are none. Hubs, leafs and agents are real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import count, takewhile
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import localsubjects, wire
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.hublook import Found, look
from edgeagent.assembly.hubmove import choice_of
from edgeagent.fleet import Fleet
from edgeagent.hub.keyring import Keyring
from edgeagent.identity import Identity, Installation
from edgeagent.leaf import hubkept
from edgeagent.leaf.hubkept import Kept
from edgeagent.link import Client
from edgeagent.natsserver import binary
from edgeagent.settings import load
from edgeagent.subjects import FLEET_ALL, Scope
from tests.support.configattacks import World
from tests.support.configured import DEVICE, ID, Configured, Rig, configured_in, rigged
from tests.support.configuring import Writer, state_of
from tests.support.fleet import LiveFleet, Said, cli
from tests.support.forwarding import numbers
from tests.support.quick import VISIT_SECONDS
from tests.support.servers import PATIENCE_SECONDS, PlainHub, until
from tests.support.tlshub import TlsHub
from tests.support.trusthub import TrustHub
from tests.support.twohubs import OtherHub


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("fleet"), 0) as fleet, fleet.borrowed():
        yield fleet


@pytest.fixture(scope="module")
def beside(fleet: LiveFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherHub]:
    """The other hub, which starts while the device is enrolled."""
    with OtherHub(fleet, tmp_path_factory.mktemp("other") / "hub").running() as hub:
        yield hub


@pytest.fixture(scope="module")
def running(fleet: LiveFleet, beside: OtherHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    with configured_in(fleet, tmp_path_factory.mktemp("device"), "berlin") as pi:
        yield pi


@pytest.fixture(scope="module")
def other(running: Configured, beside: OtherHub) -> OtherHub:
    beside.is_up()
    return beside


@pytest_asyncio.fixture
async def rig(running: Configured) -> AsyncIterator[Rig]:
    async with rigged(running) as made:
        yield made


def home(pi: Configured) -> str:
    return pi.device.enrolment.urls[0]


def kept(pi: Configured) -> Kept:
    return hubkept.load(pi.device.state, [home(pi)])


@contextlib.asynccontextmanager
async def measuring(pi: Configured) -> AsyncIterator[Callable[[], int]]:
    """A program that publishes numbered samples all the time; gives how many it has published."""
    sent, stopped = 0, False

    async def publish(program: Client) -> None:
        nonlocal sent
        for number in takewhile(lambda _: not stopped, count()):
            await program.request(localsubjects.local_metric("n"), str(number).encode(), timeout=10)
            sent = number + 1
            await asyncio.sleep(0.01)

    async with pi.leaf() as program:
        task = asyncio.create_task(publish(program))
        try:
            yield lambda: sent
        finally:
            stopped = True
            await task
        assert program.stats["reconnects"] == 0, "it never noticed anything"


@contextlib.asynccontextmanager
async def store_of(place: OtherHub | Configured) -> AsyncIterator[Client]:
    """The hub's own connection to its streams."""
    folder = place.place if isinstance(place, OtherHub) else place.fleet.hub
    client = await sign_in(folder, Keyring.load(folder.path), "hub")
    try:
        yield client
    finally:
        await client.close()


async def has(hub: Client, least: int) -> bool:
    return (await numbers(hub))[:least] == list(range(least))


async def told(pi: Configured, fleet: Fleet, kind: str) -> str:
    """The text of its newest event of the kind, once there is one."""
    found: list[str] = []

    async def there() -> bool:
        found[:] = [event.text for event in await pi.events(fleet.client, kind)]
        return bool(found)

    await until(there, kind)
    return found[-1]


# ---- where no hub is ------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def nobody(folder: Path) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"nats-leaf://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def black_hole(folder: Path) -> AsyncIterator[str]:
    """It takes the connection and says nothing, ever."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        yield f"nats-leaf://127.0.0.1:{hole.getsockname()[1]}"


@contextlib.asynccontextmanager
async def no_hub(folder: Path) -> AsyncIterator[str]:
    async with PlainHub(folder) as server:
        yield server.leaf_url


@contextlib.asynccontextmanager
async def of_a_stranger(folder: Path) -> AsyncIterator[str]:
    async with TrustHub(folder) as hub:
        yield f"nats-leaf://127.0.0.1:{hub.leaf_port}"


@contextlib.asynccontextmanager
async def certified_by_a_stranger(folder: Path) -> AsyncIterator[str]:
    async with TlsHub(folder) as hub:
        yield hub.url("tls-leaf")


@contextlib.asynccontextmanager
async def unknown_name(folder: Path) -> AsyncIterator[str]:
    yield "tls://no-such-hub.invalid:7422"


#: Where a device is sent, and what it says of that.
WRONG: dict[str, tuple[Callable[[Path], AbstractAsyncContextManager[str]], str]] = {
    "nobody": (nobody, "nothing listens there"),
    "black hole": (black_hole, f"it did not answer within {VISIT_SECONDS['LINK_SECONDS']:g} s"),
    "no hub": (no_hub, "it lets this device in, but stores nothing"),
    "of a stranger": (of_a_stranger, "it does not accept the login"),
    "foreign certificate": (certified_by_a_stranger, "its certificate is not signed by an authority that is trusted here"),
    "unknown name": (unknown_name, "the name "),
}


def errors(state: wire.ConfigState) -> list[str]:
    return [scope.error for scope in state.scopes.values() if scope.error]


async def test_where_no_hub_is_a_device_never_goes(rig: Rig, tmp_path: Path) -> None:
    """It looks at one after the other, and its link is never cut for it."""
    pi = rig.pi
    await pi.linked()
    status = pi.device.status()
    assert status
    since = status.link.since
    async with contextlib.AsyncExitStack() as stack:
        places = enumerate(WRONG.values())
        urls = await asyncio.gather(*(stack.enter_async_context(made(tmp_path / str(number))) for number, (made, _) in places))
        await rig.put({"hub.urls": urls})
        said = [f"cannot link to the hub at {url}: {why}" for url, (_, why) in zip(urls, WRONG.values(), strict=True)]

        async def all_told() -> bool:
            events = await pi.events(rig.client, "hub.move_failed")
            found = [event.text for event in events if event.text.endswith(f"; this device is at {home(pi)}")]
            return len(found) == len(said) and all(any(text.startswith(word) for text in found) for word in said)

        await until(all_told, "an event for each", 2 * PATIENCE_SECONDS)
    state = await pi.reports(rig.client, lambda state: any(urls[1] in error for error in errors(state)), "it reports it")
    (error,) = errors(state)
    assert error.startswith(f"hub.urls: cannot link to {urls[0]}: {WRONG['nobody'][1]}; cannot link to {urls[1]}: ")
    status = pi.device.status()
    assert status and status.link.since == since and status.link.hub == home(pi)
    assert kept(pi).good == home(pi)


# ---- to another hub ---------------------------------------------------------------------------------------------------------------


async def test_there_and_back_while_it_measures(rig: Rig, other: OtherHub) -> None:
    pi = rig.pi
    status = pi.device.status()
    assert status
    leaf = status.leaf.pid
    await rig.set({"forward.seconds": 0.1})
    async with store_of(pi) as old, store_of(other) as new:
        async with measuring(pi) as sent:
            await rig.put({"hub.urls": [other.leaf_url], "forward.seconds": 0.1})
            async with Fleet(url=other.client_url, credentials=pi.fleet.credentials) as there:
                await pi.reports(there.client, lambda state: "hub.urls" in state.values, "it reports at the other hub")
                await told(pi, there, "hub.moved")
                assert kept(pi) == Kept(good=other.leaf_url, before=home(pi))
                before = sent()
                await until(lambda: has(new, before), "the other hub has all that was measured until now")
                await Rig(pi, there).put({"hub.urls": [home(pi)], "forward.seconds": 0.1})
                await until(lambda: kept(pi) == Kept(good=home(pi), before=other.leaf_url), "it is back")
        await until(lambda: has(old, sent()), "the first hub has all of it")
        assert await numbers(old) == list(range(sent())), "and nothing twice"
        assert (found := await numbers(new)) == sorted(found) and found[-1] < sent()
    status = pi.device.status()
    assert status and status.leaf.pid == leaf and status.leaf.restarts == 0


async def test_killed_in_the_midst_of_it_it_ends_where_it_was_sent(rig: Rig, other: OtherHub) -> None:
    pi = rig.pi
    await rig.put({"hub.urls": [other.leaf_url]})
    await until(lambda: other.leaf_url in (kept(pi).trying, kept(pi).good), "it begins to move")
    pi.kill()
    pi.start()
    await pi.linked()
    await until(lambda: kept(pi).good == other.leaf_url, "it moved")
    await back_again(pi, other)


async def back_again(pi: Configured, other: OtherHub) -> None:
    async with Fleet(url=other.client_url, credentials=pi.fleet.credentials) as there:
        await Rig(pi, there).put({"hub.urls": [home(pi)]})
        await until(lambda: kept(pi).good == home(pi), "it is back")


# ---- the command ----------------------------------------------------------------------------------------------------------------


def hub_move(*words: str) -> Said:
    return cli("hub", "move", *words, "-d", ID, "--wait", "60s", "--json")


async def test_the_command_moves_it_and_brings_it_back(rig: Rig, other: OtherHub) -> None:
    pi = rig.pi
    await rig.set({"app.doors.x": 1}, Scope.group("berlin"))
    there = ["--client-url", other.client_url]
    refused = await asyncio.to_thread(hub_move, other.leaf_url, *there)
    assert refused.code == 1 and "the configuration of group.berlin is missing or older there" in refused.err, refused
    assert "`--sync` brings it over" in refused.err
    same = await asyncio.to_thread(hub_move, home(pi), "--client-url", pi.fleet.url, "--dry-run")
    assert same.code == 0 and "is the hub that you are at" in same.err and "same keys" not in same.err, same
    tried = await asyncio.to_thread(hub_move, other.leaf_url, *there, "--dry-run")
    assert tried.code == 0 and "hub" not in (await rig.fleet.config.read(DEVICE)).values, tried

    done = await asyncio.to_thread(hub_move, other.leaf_url, *there, "--sync")
    assert done.code == 0, done
    (row,) = json.loads(done.out)["devices"]
    assert (row["id"], row["where"], row["at"]) == (ID, "moved", other.leaf_url)
    async with Fleet(url=other.client_url, credentials=pi.fleet.credentials) as fleet:
        await pi.reports(fleet.client, lambda state: not errors(state), "nothing went back")

    assert cli("context", "add", "other", "--url", other.client_url, "--credentials", str(pi.fleet.credentials)).code == 0
    try:
        back = await asyncio.to_thread(hub_move, "--undo", "--client-url", pi.fleet.url, "--sync")
        assert back.code == 0, back
        assert json.loads(back.out)["devices"][0]["where"] == "moved" and kept(pi).good == home(pi)
    finally:
        cli("context", "use", "demo")
        cli("context", "rm", "other")


async def test_the_command_says_who_could_not_go(rig: Rig, other: OtherHub) -> None:
    """Only devices can reach it, it seems from here."""
    there = ["--client-url", other.client_url, "--sync"]
    async with nobody(Path()) as url:
        silent = await asyncio.to_thread(hub_move, url, *there)
        assert silent.code == 1 and "does not answer here as a hub does" in silent.err, silent
        done = await asyncio.to_thread(hub_move, url, *there, "--anyway")
        assert done.code == 3 and json.loads(done.out)["devices"][0]["why"] == f"{url}: nothing listens there", done


# ---- attackers ------------------------------------------------------------------------------------------------------------------


async def test_who_may_not_does_not_move_a_device(rig: Rig, tmp_path: Path) -> None:
    pi, world = rig.pi, World(rig.pi)
    values = {"hub": {"urls": ["nats-leaf://127.0.0.1:1"]}}
    limited = world.person("operator", "berlin")
    unsigned = json.dumps({**json.loads(world.document(FLEET_ALL, values=values)), "signature": "AAAA"}).encode()
    async with store_of(pi) as hub:
        for data in (unsigned, world.document(FLEET_ALL, limited, values=values)):
            await Writer(hub, world.olga).raw(FLEET_ALL, data)
            await pi.reports(rig.client, lambda state: bool(errors(state)), "it refuses it")
            assert "hub.urls" not in (await state_of(rig.client, ID)).values
    status = pi.device.status()
    assert status and status.link.hub == home(pi)


async def test_a_look_leaves_nothing_behind(rig: Rig, tmp_path: Path) -> None:
    settings, pi = load(rig.pi.device.settings), rig.pi
    who = Identity(id=ID, installation=Installation(suffix="x"), boot="")
    assert await look(home(pi), settings, who, has_another=True) == Found()
    assert not (settings.state_folder / "hub-visit").exists()


# ---- other beginnings; each test ends with a device that is stopped, or as the next one takes it ------------------------------------


async def test_a_leaf_that_systemd_runs_moves_as_well(running: Configured, other: OtherHub) -> None:
    pi = running
    pi.stop()
    before = pi.device.settings.read_text()
    pi.device.settings.write_text(before.replace("[leaf]\n", '[leaf]\nmode = "external"\n'))
    pi.start()
    await until((pi.device.state / "leaf.external").exists, "its unit may start")
    unit = await asyncio.create_subprocess_exec(
        binary.find().path, "-c", pi.device.state / "leaf.conf", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with rigged(pi) as rig:
            await rig.put({"hub.urls": [other.leaf_url]})
            await until(lambda: kept(pi).good == other.leaf_url, "it moved")
            await back_again(pi, other)
        assert unit.returncode is None
    finally:
        pi.stop()
        unit.kill()
        await unit.wait()
        pi.device.settings.write_text(before)


async def test_what_ended_in_the_midst_of_a_move_begins_where_it_worked_and_nobody_takes_it_out_of_tls(
    running: Configured, tmp_path: Path
) -> None:
    """As a power cut leaves it: the leaf was sent somewhere, and nothing had worked there yet. And it was given authorities once, so what
    is on the way cannot be its hub without showing that they signed for it."""
    pi = running
    pi.stop()
    file = pi.device.state / "authorities.pem"
    file.write_text("")
    async with black_hole(tmp_path) as url:
        hubkept.save(pi.device.state, [home(pi)], Kept(good=home(pi), trying=url, tries=1))
        pi.start()
        await pi.linked()
        await until(lambda: kept(pi) == Kept(good=home(pi), tries=1), "that is on the disk")
    try:
        async with rigged(pi) as rig:
            await rig.put({"hub.urls": ["nats-leaf://10.255.255.1:7422"]})
            assert "is without TLS, and this device reaches its hub by TLS" in await told(pi, rig.fleet, "hub.move_refused")
            state = await pi.reports(rig.client, lambda state: bool(errors(state)), "it says so")
            assert "hub.urls: nats-leaf://10.255.255.1:7422 is without TLS" in errors(state)[0]
            assert choice_of(load(pi.device.settings), load(pi.device.settings)).current == home(pi)
    finally:
        file.unlink()
