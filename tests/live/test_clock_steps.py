"""A clock that is 30 days behind and steps: each sample's true time, over a real leaf (what is real: tests/support/wrongclock.py)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import localsubjects
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect, settle
from edgeagent.natsserver import ports
from edgeagent.patterns import clocksteps, localstore
from edgeagent.patterns.clocksteps import FILE, ClockSteps, read_clocks
from edgeagent.patterns.locallog import LocalLog
from edgeagent.publish import published
from tests.support.servers import kill_leftovers
from tests.support.wrongclock import WrongClock

STREAM, SUBJECT = localsubjects.LOCAL_METRICS, localsubjects.local_metric("app")
DAY = 86_400.0


class Hub:
    """What is known of the time from elsewhere. says: the true time, None: it can't be asked."""

    def __init__(self) -> None:
        self.says: Callable[[], float | None] = lambda: None
        self.asked = 0

    def now(self) -> float | None:
        return self.says()

    def wanted(self) -> None:
        self.asked += 1


@pytest_asyncio.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[Leaf]:
    made = Leaf(LeafOptions(device_id="pi-1", server_name="pi-1-x", folder=tmp_path / "state", port=ports.pick()))
    await made.start()
    yield made
    await made.stop()
    kill_leftovers(tmp_path)


class Device:
    """An agent's part that follows the clock, behind a clock that is wrong. synchronized: something keeps it right."""

    def __init__(self, client: Client, folder: Path, clock: WrongClock, boot: str = "boot-1") -> None:
        self.client, self.folder, self.clock, self.hub = client, folder, clock, Hub()
        self.synchronized = False
        self.true: dict[int, float] = {}
        self.own: dict[int, float] = {}
        self.begin(boot)

    def begin(self, boot: str = "boot-1") -> None:
        """An agent starts. boot: id of the machine's."""
        self.steps = ClockSteps(
            self.client,
            self.folder,
            boot,
            self.hub,
            synchronized=lambda: self.synchronized,
            clocks=self.clock.clocks,
        )

    async def store(self, count: int) -> None:
        """That many samples, each with its own time as the device's clock tells it."""
        for _ in range(count):
            own = self.clock.clocks()[1] / 1e9
            now = time.time()
            sequence = await published(self.client, SUBJECT, json.dumps({"x": 1, "time": own}).encode())
            self.true[sequence], self.own[sequence] = now, own

    async def errors(self, *, own: bool = True) -> list[float]:
        """By how many seconds each stored sample's time is wrong; estimated ones count as a day."""
        found, log = list[float](), LocalLog(self.client, STREAM)
        for sequence, true in self.true.items():
            message = (await log.read(sequence, count=1, max_bytes=1)).messages[0]
            sample = json.loads(message.data)["time"] if own else 0.0
            at, estimated = self.steps.when(STREAM, sequence, message.time, sample)
            found.append(DAY if estimated else abs(at / 1000 - true))
        return found


@pytest_asyncio.fixture
async def clock(request: pytest.FixtureRequest) -> WrongClock:
    """30 days behind, unless the test says otherwise."""
    return WrongClock(getattr(request, "param", 30))


@pytest_asyncio.fixture
async def device(leaf: Leaf, clock: WrongClock, tmp_path: Path) -> AsyncIterator[Device]:
    async with clock.in_front_of(leaf.port) as url:
        client = await connect(url, what="be the agent", name="agent", inbox_prefix="_INBOX.agent", password=leaf.agent_login)
        await localstore.ensure(client, 64 << 20)
        yield Device(client, tmp_path, clock)
        await client.close()


@pytest.mark.parametrize("clock", [30, -30], ids=["behind", "ahead"], indirect=True)
async def test_a_thousand_samples_have_their_true_time_after_the_step(device: Device) -> None:
    await device.steps.look()
    await device.store(1000)
    assert not device.steps.may_send(STREAM, 1000) and device.hub.asked
    device.clock.step()
    await device.store(20)  # before the agent looks at the clock again
    device.synchronized = True
    await device.steps.look()
    await device.store(20)
    assert device.steps.may_send(STREAM, 1) and device.steps.may_send(STREAM, 1040)
    for own in (True, False):
        assert max(await device.errors(own=own)) < 2.0
    assert [stretch.first[STREAM] for stretch in device.steps.times.stretches] == [1, 1001], "exactly where it stepped"


async def test_without_a_step_the_hubs_time_counts(device: Device) -> None:
    await device.steps.look()
    await device.store(10)
    device.hub.says = time.time
    await device.steps.look()
    await device.store(10)
    assert device.steps.may_send(STREAM, 20) and max(await device.errors()) < 2.0


async def test_an_agent_that_starts_again_knows_it_and_finds_a_step_of_meanwhile(device: Device) -> None:
    await device.steps.look()
    await device.store(10)
    device.clock.step()
    await device.store(10)
    device.begin()
    assert device.steps.times.stretches, "from its file"
    device.synchronized = True
    await device.steps.look()
    assert max(await device.errors()) < 2.0
    device.begin()
    assert max(await device.errors()) < 2.0, "all of it stands in the file"


async def test_another_boot_whose_clock_never_became_right_stays_estimated(device: Device) -> None:
    await device.steps.look()
    await device.store(5)
    device.clock.step()
    device.begin("boot-2")
    device.synchronized = True
    await device.steps.look()
    assert await device.errors() == [DAY] * 5 and device.steps.may_send(STREAM, 5)
    device.true.clear()
    await device.store(5)
    assert max(await device.errors()) < 2.0


async def test_after_a_while_with_a_link_an_unknown_time_is_no_reason_to_wait(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    await device.steps.look()
    await device.store(1)
    monkeypatch.setattr(clocksteps, "PATIENCE_SECONDS", 0.0)
    assert not device.steps.may_send(STREAM, 1), "no link yet"
    device.steps.link_came()
    while not device.steps.may_send(STREAM, 1):
        await settle(device.client, what="let some time pass")
    assert await device.errors() == [DAY]


async def test_a_stream_that_was_made_anew_begins_anew(device: Device) -> None:
    device.synchronized = True
    device.clock.step()
    await device.store(30)
    await device.steps.look()
    await device.store(1)
    await device.client.jetstream().delete_stream(STREAM)
    await localstore.ensure(device.client, 64 << 20)
    device.true.clear()
    await device.store(3)
    device.begin()
    await device.steps.look()
    assert max(await device.errors()) < 2.0


async def test_a_step_before_the_leaf_could_be_asked_is_known_all_the_same(device: Device) -> None:
    js = device.client.jetstream()
    await js.delete_stream(STREAM)
    await device.steps.look()
    assert [STREAM in stretch.first for stretch in device.steps.times.stretches] == [False]
    await localstore.ensure(device.client, 64 << 20)
    await device.store(10)
    device.clock.step()
    await device.store(5)
    device.synchronized = True
    await device.steps.look()
    assert [stretch.first[STREAM] for stretch in device.steps.times.stretches] == [1, 11]
    assert device.steps.may_send(STREAM, 1) and device.steps.may_send(STREAM, 15) and max(await device.errors()) < 2.0


@pytest.mark.parametrize("damage", ["", "{", '{"stretches":5}'])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / FILE).write_text(damage)
    nobody: Client = None  # type: ignore[assignment]
    assert ClockSteps(nobody, tmp_path, "boot", Hub(), synchronized=bool).times.stretches == []


def test_the_clocks_of_this_machine() -> None:
    boot, wall = read_clocks()
    assert 0 < boot < wall and abs(wall / 1e9 - time.time()) < 60
