"""The hub's disk is filled to the last byte by another program while devices send: everybody hears why, and all goes on when there is space.

Nothing that a device's leaf acknowledged is lost, nothing is stored twice, and the only restart is the one that brings the store back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.js.errors import Error as JetStreamError

from edgeagent import localsubjects, subjects, wire
from edgeagent.assembly import doctorstore
from edgeagent.assembly.hublogin import sign_in
from edgeagent.direct import read_all
from edgeagent.hub.keyring import Keyring
from edgeagent.link import Client, connect
from edgeagent.patterns.forwardchunks import METRICS
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet, Said, cli
from tests.support.forwarding import numbers
from tests.support.servers import kill_leftovers, until
from tests.support.smalldisk import SmallDisk, small_disk

FULL = "the hub's store is full. Free some space on the disk of the hub"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """The whole folder of the hub is there."""
    with small_disk(tmp_path / "disk", 64) as disk:
        yield disk
        kill_leftovers(disk.path)


@pytest.fixture
def fleet(tmp_path: Path, disk: SmallDisk) -> Iterator[LiveFleet]:
    (disk.path / "hub").mkdir(0o700)
    (tmp_path / "demo").mkdir(0o700)
    (tmp_path / "demo" / "hub").symlink_to(disk.path / "hub")
    with LiveFleet(tmp_path, 2, more=lambda device: "\n[forward]\nseconds = 0.5\n") as fleet, fleet.borrowed():
        yield fleet


def asked(url: str) -> dict[str, Any]:
    """What /healthz answers, with any status; nothing when nobody listens yet."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            found = json.load(error)
        assert error.code == 503
    except OSError:
        return {}
    return found


class Load:
    """A program on a device that stores numbered samples, and knows which of them its leaf has."""

    def __init__(self, fleet: LiveFleet, device: str) -> None:
        self.device, self._fleet = device, fleet
        self.acknowledged: list[int] = []
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        client = await connect(
            self._fleet.leaf_url(self.device), what="measure", name="program", inbox_prefix="_INBOX.n", reconnect=False
        )
        js, number = client.jetstream(timeout=1), 0
        while not self._over.is_set():
            with contextlib.suppress(nats.errors.Error, JetStreamError, asyncio.TimeoutError):
                await js.publish(localsubjects.local_metric("n"), str(number).encode())
                self.acknowledged.append(number)
            number += 1
            await asyncio.sleep(0.002)
        await client.close()

    async def end(self) -> None:
        self._over.set()
        await self._task


class Watched:
    """What the hub says live, and how often devices knock while its store takes nothing."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.knocks: Counter[str] = Counter()

    async def start(self, hub: Client) -> None:
        await hub.subscribe(subjects.live(subjects.HUB, "event.*"), cb=self._event)
        await hub.subscribe("edge.from.>", cb=self._knock)

    async def _event(self, message: Any) -> None:
        self.kinds.append(wire.decode(message.data, wire.Event).kind)

    async def _knock(self, message: Any) -> None:
        self.knocks[message.subject] += 1


async def written(file: Path, number: int) -> dict[str, Said]:
    """Every way of the command line to write something, and what it says. file: one to upload. number: of this call; what is there already would not be written again."""
    orders = {
        "cmd": ("cmd", "run", "ping", "-d", "pi-01"),
        "config": ("config", "set", "-d", "pi-01", "agent.log_level=debug"),
        "token": ("token", "create", "--uses", "1"),
        "label": ("device", "label", "pi-01", f"site=here-{number}"),
        "file": ("file", "push", str(file), "-d", "pi-01", "--to", str(file)),
        "group": ("device", "group", "add", f"attic-{number}", "pi-01"),
    }
    said = await asyncio.gather(*(asyncio.to_thread(cli, *words) for words in orders.values()))
    return dict(zip(orders, said, strict=True))


async def tokens() -> set[str]:
    return {each["id"] for each in json.loads((await asyncio.to_thread(cli, "token", "ls", "--json")).out)}


async def test_a_full_store_is_told_and_all_goes_on_by_itself(fleet: LiveFleet, disk: SmallDisk, tmp_path: Path) -> None:
    place, watched = fleet.hub, Watched()
    healthz = f"http://{place.exports().metrics.listen}/healthz"
    hub = await sign_in(place, Keyring.load(place.path), "hub")
    await watched.start(hub)
    loads = [Load(fleet, device) for device in fleet.ids]
    await until(lambda: all(len(load.acknowledged) > 50 for load in loads), "they measure")
    server = fleet.hub_pid("server")
    await until(lambda: asked(healthz).get("status") == "ok", "the hub is well", PATIENCE_SECONDS)
    (tmp_path / "menu.json").write_text("{}")

    before = await tokens()
    watched.knocks.clear()
    disk.fill()
    await until(lambda: "hub.store_full" in watched.kinds, "it is told at once")
    first = await written(tmp_path / "menu.json", 1)
    # What is small may still fit into the last block of its bucket, which is closed then: it is done truly, and nothing follows it.
    fitted = {name for name, said in first.items() if said.code == 0}
    assert fitted <= {"token", "label", "group"}, first
    for name, said in {**first, **(await written(tmp_path / "menu.json", 2) if fitted else {})}.items():
        assert (said.code, FULL in said.err) == (1, True), (name, said)
    assert (await asyncio.to_thread(cli, "fleet", "ls", "--cached")).code == 0, "who only reads goes on"
    await until(lambda: "store" in asked(healthz).get("wrong", ()), "/healthz says so")
    for check in (doctorstore.disk, doctorstore.takes):
        [red] = await check(place, place.options())
        assert red.level == "wrong" and "free some space" in red.remedy

    def knows() -> bool:
        return any("the hub's store is full" in problem.what for problem in fleet.status("pi-01").problems)

    await until(knows, "the device says so", PATIENCE_SECONDS)
    assert fleet.hub_pid("server") == server, "nothing is restarted while it is full"

    assert all(count < 100 for count in watched.knocks.values()), f"nobody hammers: {watched.knocks}"

    disk.drain()
    await until(lambda: "hub.store_back" in watched.kinds, "it takes everything again", 60)
    assert fleet.hub_pid("server") != server
    assert len(await tokens() - before) == len(fitted & {"token"}), "what was done is there, and what was refused is not"
    for name, said in (await written(tmp_path / "menu.json", 3)).items():
        assert said.code == 0, (name, said)
    await until(lambda: asked(healthz).get("status") == "ok", "/healthz says that it is well again", PATIENCE_SECONDS)
    for load in loads:
        await load.end()
        mine = set(load.acknowledged)

        async def there(load: Load = load, mine: set[int] = mine) -> bool:
            return mine <= set(await numbers(hub, load.device, METRICS))

        await until(there, "all of it is on the hub", PATIENCE_SECONDS)
        found = await numbers(hub, load.device, METRICS)
        assert len(found) == len(set(found)), "none twice"
    again = server_starts(place.log)
    assert again == 2, "one restart"
    told = [
        wire.decode(item.data, wire.Event).kind
        async for item in read_all(hub, "EDGE_EVENTS", subjects.event("hub", "*"), prefix="$JS.API")
    ]
    assert told.count("hub.store_full") == told.count("hub.store_back") == 1, "kept, and stored later"
    await hub.close()


def server_starts(log: Path) -> int:
    return log.read_text().count("Starting nats-server")
