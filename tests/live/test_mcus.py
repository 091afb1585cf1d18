"""The register of microcontrollers and the intake of what they measure, on a real leaf: each reading once, whatever is killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from edgeagent import files
from edgeagent.errors import Failed, Refused, Unreachable, UsageProblem
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect
from edgeagent.localsubjects import LOCAL_METRICS
from edgeagent.mcumessages import Hello, Reading
from edgeagent.natsserver import ports
from edgeagent.natsserver.supervisor import State, Timing
from edgeagent.patterns import localstore
from edgeagent.patterns.locallog import LocalLog
from edgeagent.patterns.mcureadings import MAX_WAITING, Readings
from edgeagent.patterns.mcus import Mcus
from edgeagent.patterns.ownlog import OwnLog
from edgeagent.runtime import Tasks
from edgeagent.sample import Sample, parse
from tests.support.servers import kill, until


class Wire:
    """A microcontroller's end: what it was sent."""

    kind, where, damaged, silent_seconds = "usb", "a wire", 0, 0.0

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, message: bytes) -> None:
        self.sent.append(json.loads(message))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.sent if each["t"] == kind]

    @property
    def acknowledged(self) -> int:
        return max((each["s"] for each in self.of("ack")), default=0)


@pytest_asyncio.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[Leaf]:
    timing = Timing(first_seconds=0.1, cap_seconds=0.5)
    made = Leaf(
        LeafOptions(device_id="pi-01", server_name="pi-01-x", folder=tmp_path / "state", port=ports.pick(), timing=timing)
    )
    files.make_folder(made.options.folder, 0o700)
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def client(leaf: Leaf) -> AsyncIterator[Client]:
    made = await connect(leaf.url, what="be the agent", name="agent", inbox_prefix="_INBOX.x", password=leaf.agent_login)
    await localstore.ensure(made, 64 << 20)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks()
    yield made
    await made.close()


def reading(seq: int, boot: str = "a", oldest: int = 1, **values: float) -> bytes:
    return json.dumps({"t": "r", "b": boot, "s": seq, "o": oldest, "v": values or {"count": seq}}).encode()


def hello(oldest: int = 1, boot: str = "a", lost: int = 0, **more: object) -> bytes:
    return json.dumps({"t": "hello", "fw": "1.2.0", "b": boot, "o": oldest, "lost": lost, **more}).encode()


async def stored(client: Client, metric: str = "mcu.count") -> list[float]:
    """All values of the metric in the leaf's store, in order."""
    messages = (await LocalLog(client, LOCAL_METRICS).read(1, count=5000, max_bytes=8 << 20)).messages
    return [sample.value for each in messages for sample in parse(each.subject, each.data) if sample.metric == metric]


def silent(*_: object, **__: object) -> None:
    """Events that this test does not look at."""


async def begun(client: Client, tasks: Tasks, **how: Any) -> tuple[Mcus, Wire]:
    mcus, wire = Mcus(client, tell=how.pop("tell", silent), **how), Wire()
    mcus.start(tasks)
    mcus.attach("oven", wire)
    assert wire.of("hi")
    await until(lambda: mcus._of("oven").readings.is_ready, "what was taken before is known")
    mcus.heard("oven", hello())
    return mcus, wire


async def test_a_reading_is_acknowledged_when_it_is_stored_and_taken_once(client: Client, tasks: Tasks) -> None:
    mcus, wire = await begun(client, tasks)
    for seq in (1, 2, 2, 3, 1, 5):
        mcus.heard("oven", reading(seq))
    await until(lambda: wire.acknowledged == 3, "three are acknowledged")
    assert await stored(client) == [1, 2, 3]
    assert len(wire.of("hi")) <= 2, "asked for the missing one, not all the time"
    mcus.heard("oven", reading(4))
    mcus.heard("oven", reading(5))
    await until(lambda: wire.acknowledged == 5, "the rest came")
    assert await stored(client) == [1, 2, 3, 4, 5]
    assert mcus.status()[0].readings == 5


async def test_an_agent_that_was_killed_goes_on_where_the_store_is(client: Client, leaf: Leaf) -> None:
    """Each life ends without a word, with acknowledgements that never arrived; the microcontroller sends all of it again."""
    for life in range(3):
        tasks = Tasks()
        mcus, wire = await begun(client, tasks)
        for seq in range(1, 11 + life):
            mcus.heard("oven", reading(seq))
        await until(lambda wire=wire, last=10 + life: wire.acknowledged == last, "acknowledged")
        await tasks.close()
    assert await stored(client) == list(range(1, 13))


async def test_a_leaf_that_is_killed_loses_and_doubles_nothing(client: Client, leaf: Leaf, tasks: Tasks) -> None:
    mcus, wire = await begun(client, tasks)
    for seq in range(1, 41):
        mcus.heard("oven", reading(seq))
        if seq == 20:
            assert leaf.pid
            kill(leaf.pid)
        await asyncio.sleep(0.01)
    await until(lambda: leaf.state is State.RUNNING and wire.acknowledged == 40, "all of it is stored")
    assert await stored(client) == list(range(1, 41))


async def test_a_ring_that_dropped_some_is_counted_and_not_waited_for(client: Client, tasks: Tasks) -> None:
    mcus, wire = await begun(client, tasks)
    mcus.heard("oven", reading(1))
    mcus.heard("oven", hello(oldest=8, lost=6))
    mcus.heard("oven", reading(8, oldest=8))
    await until(lambda: wire.acknowledged == 8, "acknowledged")
    assert await stored(client) == [1, 8]
    assert await stored(client, "mcu.readings_lost") == [6]
    assert mcus.status()[0].lost == 6


async def test_a_reading_that_is_no_sample_is_counted_and_does_not_come_for_ever(client: Client, tasks: Tasks) -> None:
    mcus, wire = await begun(client, tasks)
    mcus.heard("oven", reading(1, **{"no name": 1}))
    mcus.heard("oven", b'{"t":"r","b":"a","s":2,"v":{"text":"only"}}')
    mcus.heard("oven", b"{")
    mcus.heard("oven", reading(3))
    await until(lambda: wire.acknowledged == 3, "acknowledged")
    assert await stored(client) == [3]
    assert await stored(client, "mcu.readings_malformed") == [1, 2]
    assert mcus.status()[0].malformed == 3


async def test_plain_samples_are_stored_when_it_returns_and_never_overwrite_what_was_taken(client: Client, tasks: Tasks) -> None:
    mcus, _ = await begun(client, tasks)
    mcus.heard("oven", reading(1))
    await mcus.store("oven", [Sample("mcu.heat", 80.5, {"mcu": "fridge"})])
    assert await stored(client, "mcu.heat") == [80.5]
    again = Readings(client, "oven", ack=lambda boot, last: None)
    running = asyncio.create_task(again.run())
    await until(lambda: again.is_ready, "read")
    assert again.reading(Reading(b="a", s=1))
    assert again.readings == 0, "it was taken before"
    running.cancel()
    with pytest.raises(UsageProblem, match="too many"):
        await mcus.store("oven", [Sample("mcu.x", 1, {"text": "x" * 190})] * 400)


async def test_what_waits_for_a_store_that_is_away_is_bounded(client: Client) -> None:
    """Nobody writes: run() was not started after the first look."""
    readings = Readings(client, "oven", ack=lambda boot, last: None)
    running = asyncio.create_task(readings.run())
    await until(lambda: readings.is_ready, "ready")
    running.cancel()
    readings.hello(Hello(b="a", o=1))
    for seq in range(1, MAX_WAITING * 2):
        readings.reading(Reading(b="a", s=seq, o=1, v={"count": seq}))
    assert readings.waiting == MAX_WAITING


async def test_a_command_is_sent_again_until_it_is_answered(client: Client, tasks: Tasks) -> None:
    mcus, wire = await begun(client, tasks)
    asked = asyncio.create_task(mcus.command("oven", "led", {"on": 1}, command_id="01X"))
    await until(lambda: len(wire.of("cmd")) > 1, "sent twice")
    assert {each["id"] for each in wire.of("cmd")} == {"01X"}
    assert wire.of("cmd")[0]["args"] == {"on": 1}
    mcus.heard("oven", b'{"t":"res","id":"01X","v":{"on":1}}')
    assert await asked == {"on": 1}
    refused = asyncio.create_task(mcus.command("oven", "fly", {}, command_id="02X"))
    await until(lambda: any(each["id"] == "02X" for each in wire.of("cmd")), "sent")
    mcus.heard("oven", b'{"t":"res","id":"02X","ok":false,"why":"it has no wings"}')
    with pytest.raises(Failed, match="it has no wings"):
        await refused


async def test_a_command_for_one_that_is_not_there_is_refused_at_once(client: Client, tasks: Tasks) -> None:
    mcus, wire = await begun(client, tasks)
    with pytest.raises(Refused, match="no such microcontroller"):
        await mcus.command("fridge", "led", {})
    with pytest.raises(Unreachable, match=r"did not answer within 0\.1 s"):
        await mcus.command("oven", "led", {}, seconds=0.1)
    mcus.detach("oven", wire, "unplugged")
    with pytest.raises(Refused, match="it is offline"):
        await mcus.command("oven", "led", {})


async def test_it_says_how_each_is_and_what_it_printed(client: Client, tasks: Tasks) -> None:
    changes: list[int] = []
    mcus, wire = await begun(client, tasks, on_change=lambda: changes.append(1))
    mcus.know(["oven", "fridge"])
    mcus.line("oven", "hot\x1b[2J" + "x" * 1000)
    oven, fridge = mcus.status()[1], mcus.status()[0]
    assert (oven.state, oven.kind, oven.firmware) == ("online", "usb", "1.2.0")
    assert (fridge.id, fridge.state) == ("fridge", "offline")
    assert mcus.facts()[1] == {"id": "oven", "state": "online", "kind": "usb", "firmware": "1.2.0", "hardware": ""}
    assert mcus.lines("oven")[0].text.startswith("hot\N{REPLACEMENT CHARACTER}[2J") and len(mcus.lines("oven")[0].text) == 400
    before = len(changes)
    mcus.heard("oven", hello(bad="1.3"))
    assert "went back from version 1.3" in mcus.status()[1].problem and mcus.details()["oven"]["bad"] == "1.3"
    assert len(changes) == before + 1
    before = len(changes)
    mcus.detach("oven", Wire())
    assert len(changes) == before, "another way to it is gone"
    mcus.detach("oven", wire, "unplugged")
    assert mcus.status()[1].state == "offline" and mcus.status()[1].problem == "unplugged" and len(changes) > before
    mcus.know(["fridge"])
    assert [each.id for each in mcus.status()] == ["fridge"]


async def test_each_is_told_its_configuration_when_it_comes_and_when_it_changes(client: Client, tasks: Tasks) -> None:
    mcus, wire = await begun(client, tasks)
    mcus.set_configuration({"oven": {"interval": 5}})
    mcus.set_configuration({"oven": {"interval": 5}, "fridge": {}})
    assert wire.of("cfg") == [{"t": "cfg", "v": {"interval": 5}}]
    mcus.heard("oven", hello())
    assert len(wire.of("cfg")) == 2
    mcus.set_configuration({})
    assert wire.of("cfg")[-1] == {"t": "cfg", "v": {}} or wire.of("cfg")[-1] == {"t": "cfg"}


async def test_an_own_log_finds_out_what_became_of_a_message(client: Client) -> None:
    """Another life of the agent stored it, and its acknowledgement was lost."""
    one, other = (OwnLog(client, "local.metric.mcu.x", what="store") for _ in range(2))
    payload = msgspec.json.encode({"samples": [{"metric": "mcu.count", "value": 1}]})
    await one.store(payload)
    await other.store(payload)
    assert await stored(client) == [1]
    await one.store(payload)
    assert await stored(client) == [1, 1], "said again by who knows that it was stored"
