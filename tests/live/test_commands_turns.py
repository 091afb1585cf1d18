"""When a command's turn comes on a device: beside what waits for its part of a splay, whatever the clock does, whoever just began to
sign."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from edgeagent.command import new_id
from edgeagent.link import Client
from edgeagent.machine import Machine
from edgeagent.patterns.commandqueue import part_of
from edgeagent.subjects import FLEET_ALL
from tests.support.commanding import DEVICE, Author, CommandDevice, heard, person, pins_of, result_of, results_of
from tests.support.servers import until
from tests.support.trusthub import TrustHub

YEAR = 365 * 86400.0


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        yield hub


@pytest_asyncio.fixture
async def client(hub: TrustHub) -> Client:
    return await hub.connect("FLEET")


@pytest_asyncio.fixture
async def author(hub: TrustHub) -> Author:
    return Author(await hub.connect("OPS"), person(hub))


@pytest.fixture
def device(hub: TrustHub, client: Client, tmp_path: Path) -> CommandDevice:
    made = CommandDevice(client, tmp_path / "device", site="berlin")
    made.trust(pins_of(hub))
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


async def accepted(author: Author, name: str) -> None:
    async def said() -> bool:
        return await result_of(author.client, name) is not None

    await until(said, f"{name} is accepted")


def drawn(author: Author, low: float, high: float) -> str:
    """An id whose part of a splay is between these shares of it."""
    while True:
        name = new_id(time.time(), author.login.public_key)
        if low <= part_of(DEVICE, name, 1.0) <= high:
            return name


# ---- a splay ---------------------------------------------------------------------------------------------------------------


async def test_what_waits_for_its_part_of_a_splay_holds_nobody_up(device: CommandDevice, author: Author, out: Path) -> None:
    async with device.running():
        slow = await author.send(
            "test.append", {"path": str(out), "line": "slow"}, id=drawn(author, 0.5, 1.0), splay_seconds=7200.0
        )
        beside = await author.send("test.beside", {"path": f"{out}.beside"}, id=drawn(author, 0.5, 1.0), splay_seconds=7200.0)
        wanted = [str(number) for number in range(30)]
        ids = [await author.send("test.append", {"path": str(out), "line": line}) for line in wanted]
        assert {found.state for found in await results_of(author.client, ids)} == {"succeeded"}
        for name in (slow, beside):
            found = await result_of(author.client, name)
            assert found is not None and found.state == "accepted"
            await author.cancel(name)
            assert (await heard(author.client, name)).state == "cancelled"
    assert out.read_text().split() == wanted


async def test_of_those_that_are_due_the_first_one_runs(device: CommandDevice, author: Author, out: Path) -> None:
    """Both come due while another one runs: in the order of the log then, not in that of their parts."""
    async with device.running():
        long = await author.send("test.wait", {"path": f"{out}.long"})
        await until(Path(f"{out}.long").exists, "it runs")
        late = await author.send("test.append", {"path": str(out), "line": "1"}, id=drawn(author, 0.5, 1.0), splay_seconds=0.2)
        soon = await author.send("test.append", {"path": str(out), "line": "2"}, id=drawn(author, 0.0, 0.1), splay_seconds=0.2)
        await accepted(author, soon)
        taken = device.journal.command(late).taken
        await until(lambda: time.time() > taken + 0.2, "both are due")
        await author.cancel(long)
        await results_of(author.client, [late, soon])
    assert out.read_text().split() == ["1", "2"]


async def test_a_clock_that_is_set_back_does_not_prolong_a_splay(
    hub: TrustHub, client: Client, author: Author, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = kept_right(hub, client, tmp_path)
    name = await author.send("test.append", {"path": str(out)}, id=drawn(author, 0.5, 1.0), splay_seconds=0.5)
    async with device.running():
        await until(lambda: device.journal.command(name) is not None, "it is taken")
        jump(monkeypatch, -YEAR)
        assert (await heard(author.client, name)).state == "succeeded"


# ---- the clock -------------------------------------------------------------------------------------------------------------


def kept_right(hub: TrustHub, client: Client, tmp_path: Path) -> CommandDevice:
    """A device whose clock something keeps right, by its own word: then it is the clock that counts."""
    root = tmp_path / "root"
    (root / "run/systemd/timesync").mkdir(parents=True)
    (root / "run/systemd/timesync/synchronized").touch()
    made = CommandDevice(client, tmp_path / "device", machine=Machine(root), site="berlin")
    made.trust(pins_of(hub))
    return made


def jump(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + seconds)


@pytest.mark.parametrize(
    ("right", "seconds", "state"),
    [
        pytest.param(True, 120.0, "expired", id="kept right, past its end"),
        pytest.param(True, YEAR, "expired", id="kept right, a year on"),
        pytest.param(True, -120.0, "succeeded", id="kept right, back before it was signed"),
        pytest.param(True, -YEAR, "succeeded", id="kept right, a year back"),
        pytest.param(False, YEAR, "succeeded", id="kept right by nobody, a year on"),
        pytest.param(False, -YEAR, "succeeded", id="kept right by nobody, a year back"),
    ],
)
async def test_the_clock_jumps_while_a_command_waits(
    hub: TrustHub,
    client: Client,
    device: CommandDevice,
    author: Author,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    right: bool,
    seconds: float,
    state: str,
) -> None:
    """A clock that is kept right is believed, also when it was set; else the hub's time counts, and goes on by the machine's own tick."""
    device = kept_right(hub, client, tmp_path) if right else device
    async with device.running():
        long = await author.send("test.wait", {"path": f"{out}.long"})
        await until(Path(f"{out}.long").exists, "it runs")
        waits = await author.send("test.append", {"path": str(out)}, expires=60)
        await accepted(author, waits)
        cancel = author.entry("cancel", {"id": long})
        data = author.signed(msgspec.structs.replace(cancel, log=(await author.head(FLEET_ALL))[1]), FLEET_ALL, 3)
        jump(monkeypatch, seconds)
        await author.raw(data, FLEET_ALL, 3)
        assert (await heard(author.client, waits)).state == state
    assert out.exists() == (state == "succeeded")


# ---- beside what is asked for on this side of the hub -----------------------------------------------------------------------


async def test_the_hubs_commands_and_those_of_a_broker_take_turns(device: CommandDevice, author: Author, out: Path) -> None:
    waits, line = {"path": str(out)}, {"path": f"{out}.lines"}
    async with device.running():
        first = await author.send("test.wait", waits)
        await until(out.exists, "the hub's runs")
        mine = asyncio.create_task(device.commands.ask("mqtt:home", "test.append", {**line, "line": "broker"}))
        await until(lambda: bool(device.commands._queue._turn._waiting), "the broker's waits")
        second = await author.send("test.append", {**line, "line": "hub"})
        await accepted(author, second)
        assert not mine.done() and not Path(line["path"]).exists()
        await author.cancel(first)
        assert (await mine).state == "succeeded" and (await heard(author.client, second)).state == "succeeded"
        assert Path(line["path"]).read_text() == "broker\nhub\n"


async def test_a_hubs_command_waits_for_one_of_a_broker(device: CommandDevice, author: Author, out: Path) -> None:
    async with device.running():
        mine = asyncio.create_task(device.commands.ask("mqtt:home", "test.wait", {"path": str(out)}))
        await until(out.exists, "the broker's runs")
        name = await author.send("test.append", {"path": f"{out}.lines"})
        await accepted(author, name)
        beside = await author.send("ping")
        assert (await heard(author.client, beside)).state == "succeeded", "what waits for nobody does not"
        found = await result_of(author.client, name)
        assert found is not None and found.state == "accepted" and not Path(f"{out}.lines").exists()
        mine.cancel()
        assert (await heard(author.client, name)).state == "succeeded"


# ---- who signs -------------------------------------------------------------------------------------------------------------


class Learning(CommandDevice):
    """It learns who may sign only when it looks, as one whose bell for that has not been answered yet. looks: how often it looked."""

    def __init__(self, hub: TrustHub, client: Client, folder: Path) -> None:
        super().__init__(client, folder, site="berlin")
        self.hub, self.looks = hub, 0

    async def look_at_signers(self) -> None:
        self.looks += 1
        self.trust(pins_of(self.hub))


async def test_a_key_that_is_news_commands_at_once(hub: TrustHub, client: Client, author: Author, tmp_path: Path) -> None:
    device = Learning(hub, client, tmp_path / "device")
    device.trust(pins_of(hub, "admin"))
    async with device.running():
        ids = [await author.send("ping") for _ in range(3)]
        assert {found.state for found in await results_of(author.client, ids)} == {"succeeded"}
    assert device.looks == 1 and device.told == []


async def test_a_login_that_was_let_in_again_commands_at_once(
    hub: TrustHub, client: Client, author: Author, tmp_path: Path
) -> None:
    device = Learning(hub, client, tmp_path / "device")
    device.trust(msgspec.structs.replace(pins_of(hub), revoked={author.login.public_key: 1 << 40}))
    name = await author.send("ping")
    async with device.running():
        assert (await heard(author.client, name)).state == "succeeded"


async def test_a_stranger_has_it_look_once_and_is_refused(hub: TrustHub, client: Client, author: Author, tmp_path: Path) -> None:
    device = Learning(hub, client, tmp_path / "device")
    device.trust(pins_of(hub))
    stranger = Author(author.client, person(hub, "viewer", "vera"))
    renewal = Author(author.client, person(hub, "renewal", "mallory"))
    async with device.running():
        for number, who in enumerate((stranger, renewal), 1):
            await who.send("ping")
            await until(lambda number=number: len(device.told) == number, "it was told")  # type: ignore[misc]
            device.link_came()
        assert (await heard(author.client, await author.send("ping"))).state == "succeeded"
    assert device.looks == 2 and [kind for kind, _ in device.told] == ["command.refused"] * 2
