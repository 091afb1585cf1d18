"""A running agent and its configuration: what each key does. The device is in the groups berlin and kitchen."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import nats.errors
import pytest
import pytest_asyncio
from nats.js.api import RePublish

from edgeagent import lastgood, services, settings, subjects, wire
from edgeagent.assembly.device import Agent
from edgeagent.assembly.deviceleaf import leaf_options
from edgeagent.chunk import decode_data
from edgeagent.config import KEYS, with_config
from edgeagent.direct import get_last
from edgeagent.errors import Refused
from edgeagent.hub import register
from edgeagent.identity import identify
from edgeagent.leaf.storelimit import FILE as STORE_LIMIT
from edgeagent.link import settle
from edgeagent.localsubjects import local_data, local_metric
from edgeagent.machine import Machine
from edgeagent.sample import Sample, parse
from edgeagent.subjects import Scope
from tests.support import fakeroot
from tests.support.administering import inside
from tests.support.configured import ID, Configured, Rig, configured, rigged
from tests.support.configuring import state_of
from tests.support.fleet import PATIENCE_SECONDS, online
from tests.support.servers import until

BERLIN, KITCHEN, ATTIC = Scope.group("berlin"), Scope.group("kitchen"), Scope.group("attic")
STREAM = f"KV_{subjects.CONFIG_BUCKET}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    with configured(tmp_path_factory.mktemp("keys"), "berlin", "kitchen") as pi:
        yield pi


@pytest_asyncio.fixture
async def rig(running: Configured) -> AsyncIterator[Rig]:
    async with rigged(running) as made:
        yield made


# ---- what each key does ------------------------------------------------------------------------------------------------------


async def labels(rig: Rig) -> None:
    async def matching() -> list[str]:
        return online(await rig.fleet.query(labels=["rack=7"]))

    assert await matching() == []
    await rig.set({"device.labels.rack": "7"}, KITCHEN)
    assert await matching() == [ID]
    stored = await get_last(rig.client, "EDGE_REPORTS", subjects.report(ID))
    assert stored and wire.decode(stored.data, wire.Report).facts["labels"] == {"rack": "7"}
    await rig.set({}, KITCHEN)
    assert await matching() == []


async def heartbeat_seconds(rig: Rig) -> None:
    for seconds in (1.5, 2.5):
        await rig.set({"agent.heartbeat_seconds": seconds})
        assert await rig.pi.heartbeat_seconds(rig.client) == seconds
    await rig.set({})
    assert await rig.pi.heartbeat_seconds(rig.client) == 1, "what agent.toml says"


async def facts_seconds(rig: Rig) -> None:
    """In an agent of this process, whose machine is a folder."""
    root = fakeroot.zero_2w(rig.pi.device.folder / "root")
    async with in_this_process(rig.pi, root.machine):
        # Without heartbeats, which look at the facts as well.
        await rig.set({"agent.heartbeat_seconds": 3600})
        await rig.set({"agent.heartbeat_seconds": 3600, "agent.facts_seconds": 1})
        root.write("/proc/sys/kernel/hostname", "renamed")

        async def reported() -> bool:
            stored = await get_last(rig.client, "EDGE_REPORTS", subjects.report(ID))
            return stored is not None and wire.decode(stored.data, wire.Report).facts["hostname"] == "renamed"

        await until(reported, "the change is reported")


@asynccontextmanager
async def in_this_process(pi: Configured, machine: Machine) -> AsyncIterator[None]:
    level, stop = logging.getLogger().level, asyncio.Event()
    pi.stop()
    try:
        async with Agent(settings.load(pi.device.settings), stop, machine) as agent:
            task = asyncio.create_task(agent.run())
            await until(lambda: bool(agent.link.connected), "it is linked")
            yield
            stop.set()
            await task
    finally:
        logging.getLogger().setLevel(level)
        pi.start()


async def documents_seconds(rig: Rig) -> None:
    """What was not rung for, as the hub says nothing of it, is found by looking."""
    await rig.set({"agent.documents_seconds": 1})
    async with inside(rig.pi.fleet) as hub:
        js = hub.jetstream()
        config = (await js.stream_info(STREAM)).config
        assert isinstance(config.republish, RePublish)
        await js.update_stream(config.evolve(republish=RePublish(src="$KV.nothing", dest="nothing.of.it")))
        try:
            await rig.set({"app.unheard.x": 1}, BERLIN)
        finally:
            await js.update_stream(config)


async def micro(rig: Rig) -> None:
    async def listed() -> bool:
        async with rig.pi.leaf(as_agent=True) as tool:
            try:
                answer = await tool.request("$SRV.PING.edgeagent", timeout=PATIENCE_SECONDS)
            except nats.errors.NoRespondersError:
                return False
            return bool(json.loads(answer.data)["metadata"]["device"] == ID)

    assert await listed()
    await rig.set({"agent.micro": False})

    async def unlisted() -> bool:
        return not await listed()

    await until(unlisted, "it answers no more")
    await rig.set({})
    await until(listed, "it answers again")


async def log_level(rig: Rig) -> None:
    """What makes no sense is logged as debug; the agent answers what came after it after it."""

    async def logged() -> int:
        before = rig.pi.device.log.count("dropped a message that makes no sense")
        async with rig.pi.leaf() as program:
            program._transport.write(b"PUB local.config.\xff 0\r\n\r\n")
            await settle(program, what="talk nonsense")
            await program.request("local.config.a", timeout=PATIENCE_SECONDS)
        return rig.pi.device.log.count("dropped a message that makes no sense") - before

    assert await logged() == 0
    await rig.set({"agent.log_level": "debug"})
    assert await logged() == 1
    await rig.set({"agent.log_level": "info"})
    assert await logged() == 0


async def urls(rig: Rig) -> None:
    """It looks there, and stays; that it goes where a hub is: test_hub_move.py."""
    await rig.set({"hub.urls": ["nats-leaf://127.0.0.1:1"]})

    async def said() -> bool:
        return bool(await rig.pi.events(rig.client, "hub.move_failed"))

    await until(said, "it says that no hub is there")


async def renew_retry_seconds(rig: Rig) -> None:
    """The hub's services stand still meanwhile, and another says no for them."""
    asked: list[str] = []
    async with inside(rig.pi.fleet) as hub, standing_still(rig.pi.fleet.hub_pid()):

        async def refuse(message: Any) -> None:
            asked.append(message.subject)
            await message.respond(services.refusal(Refused("renew the credentials", "a test wants it so")))

        await hub.subscribe(subjects.request_to_hub(ID, "renew"), cb=refuse)
        await settle(hub, what="listen")
        found = await register.find(hub, ID)
        assert found
        other = msgspec.structs.replace(found[0], groups=[*found[0].groups, "attic"])
        await register.replace(hub, other, found[1])
        try:
            await until(lambda: "a test wants it so" in rig.pi.device.problems, "it was refused")
            assert len(asked) == 1
            await rig.set({"hub.renew_retry_seconds": 0.1})
            await until(lambda: len(asked) >= 4, "it asks again and again")
        finally:
            now = await register.find(hub, ID)
            assert now
            await register.replace(hub, found[0], now[1])
    await until(lambda: not rig.pi.device.problems and rig.pi.device.is_linked, "the hub's own answer ends it")


@asynccontextmanager
async def standing_still(pid: int) -> AsyncIterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def answered(rig: Rig, count: int) -> list[str]:
    """What the device says to so many questions in a row."""
    outcomes = [await rig.fleet.query(devices=[ID], timeout=PATIENCE_SECONDS) for _ in range(count)]
    return ["busy" if outcome.refused else "answered" if online(outcome) else "silent" for outcome in outcomes]


async def burst(rig: Rig) -> None:
    for count in (1, 3):
        await rig.set({"query.rate_per_second": 0.001, "query.burst": count})
        assert await answered(rig, count + 1) == [*["answered"] * count, "busy"]


async def rate_per_second(rig: Rig) -> None:
    await rig.set({"query.rate_per_second": 0.001, "query.burst": 1})
    assert await answered(rig, 2) == ["answered", "busy"]
    await rig.set({"query.rate_per_second": 1000, "query.burst": 1})
    assert await answered(rig, 4) == ["answered"] * 4


async def sampled(rig: Rig, true: Callable[[list[list[Sample]]], bool], what: str) -> None:
    """Wait for messages of the agent's own samples of which this is true."""
    heard: list[list[Sample]] = []
    async with rig.pi.leaf(as_agent=True) as program:

        async def hear(message: Any) -> None:
            heard.append(parse(message.subject, message.data))

        await program.subscribe(local_metric("agent"), cb=hear)
        await until(lambda: true(heard), what)


def names(samples: list[Sample]) -> set[str]:
    return {sample.metric for sample in samples}


async def interval_seconds(rig: Rig) -> None:
    await rig.set({"sampling.interval_seconds": 1, "sampling.flush_seconds": 1})
    await sampled(rig, lambda heard: len({each[0].time for each in heard}) >= 3, "rounds follow each other")


async def flush_seconds(rig: Rig) -> None:
    await rig.set({"sampling.interval_seconds": 1, "sampling.flush_seconds": 3})
    many = "several rounds are one message"
    await sampled(rig, lambda heard: any(len({sample.time for sample in each}) > 1 for each in heard), many)


async def disabled(rig: Rig) -> None:
    quick = {"sampling.interval_seconds": 1, "sampling.flush_seconds": 1}
    await rig.set(quick)
    await sampled(rig, lambda heard: any("system.uptime" in names(each) for each in heard), "all are measured")
    await rig.set({**quick, "sampling.disabled": ["uptime"]})
    others = "the others go on"
    await sampled(
        rig,
        lambda heard: any({"system.uptime", "system.memory.usage"} & names(each) == {"system.memory.usage"} for each in heard),
        others,
    )


async def processes(rig: Rig) -> None:
    await rig.set({"sampling.interval_seconds": 1, "sampling.flush_seconds": 1, "sampling.processes": ["nats-server"]})

    def counted(heard: list[list[Sample]]) -> bool:
        return any(sample.metric == "edgeagent.process.count" and sample.value >= 1 for each in heard for sample in each)

    await sampled(rig, counted, "the leaf is seen")


async def alert(rig: Rig) -> None:
    """Of the agent's own samples, and of a program's; reported at once."""
    rules = {"alert.up": "system.uptime > 0 severity error", "alert.oven": "oven > 200 clear < 180"}
    never = {"agent.heartbeat_seconds": 3600, "agent.facts_seconds": 3600}
    await rig.set({"sampling.interval_seconds": 1, **never, **rules})

    async def told(kind: str) -> bool:
        return bool(await rig.pi.events(rig.client, kind))

    async def reported(alerts: dict[str, str]) -> bool:
        stored = await get_last(rig.client, "EDGE_REPORTS", subjects.report(ID))
        return stored is not None and wire.decode(stored.data, wire.Report).facts["alerts"] == alerts

    async def tried(value: bytes, kind: str) -> bool:
        await program.request(local_metric("oven"), value, timeout=PATIENCE_SECONDS)
        return await told(kind)

    await until(lambda: told("alert.up.raised"), "its own samples raise one")
    async with rig.pi.leaf() as program:
        await until(lambda: tried(b"250", "alert.oven.raised"), "a program's raise one")
        await until(lambda: reported({"oven": "warning", "up": "error"}), "both are reported")
        await until(lambda: tried(b"100", "alert.oven.cleared"), "a program's clear it")
        await until(lambda: reported({"up": "error"}), "that is reported too")
    await rig.set({})
    await until(lambda: told("alert.up.cleared"), "it is gone with its rule")
    assert len(await rig.pi.events(rig.client, "alert.up.raised")) == 1


async def profile(rig: Rig) -> None:
    """What agent.toml says goes before it; what counts from the next start on waits for that."""
    await rig.set({"agent.profile": "metered"})
    state = await rig.pi.reports(rig.client, lambda state: state.restart == ["leaf.ping_seconds"], "it has other defaults")
    assert state.values == {"agent.profile": "metered"}
    assert await rig.pi.heartbeat_seconds(rig.client) == 1
    await rig.set({})
    await rig.pi.reports(rig.client, lambda state: state.restart == [], "it has the usual ones again")


async def stored_here(rig: Rig, topic: str) -> None:
    """Store a message of a program; acknowledged."""
    async with rig.pi.leaf() as program:
        await program.request(local_data(topic), b"x", timeout=PATIENCE_SECONDS)


async def at_the_hub(rig: Rig) -> set[str]:
    """The topics in the device's newest chunk of messages."""
    stored = await get_last(rig.client, subjects.DATA, subjects.data(ID))
    return {topic for topic, _, _ in decode_data(stored.data)[1]} if stored else set()


async def forwarded(rig: Rig, topic: str) -> None:
    async def there() -> bool:
        return topic in await at_the_hub(rig)

    await until(there, f"the hub has {topic}")


async def forward_seconds(rig: Rig) -> None:
    """What waits goes when the wait is shortened, which otherwise would be for an hour."""
    await rig.set({"forward.seconds": 3600})
    await stored_here(rig, "patient")
    assert "patient" not in await at_the_hub(rig)
    await rig.set({"forward.seconds": 0.1})
    await forwarded(rig, "patient")


async def bytes_per_second(rig: Rig) -> None:
    """The first chunk is a debt of some hundred seconds, and is forgiven."""
    await rig.set({"forward.seconds": 0.1, "forward.bytes_per_second": 1})
    await stored_here(rig, "first")
    await forwarded(rig, "first")
    await stored_here(rig, "second")
    assert "second" not in await at_the_hub(rig)
    await rig.set({"forward.seconds": 0.1, "forward.bytes_per_second": 0})
    await forwarded(rig, "second")


EFFECTS: dict[str, Callable[[Rig], Awaitable[None]]] = {
    "device.labels": labels,
    "hub.urls": urls,
    "hub.renew_retry_seconds": renew_retry_seconds,
    "agent.heartbeat_seconds": heartbeat_seconds,
    "agent.facts_seconds": facts_seconds,
    "agent.documents_seconds": documents_seconds,
    "agent.micro": micro,
    "agent.log_level": log_level,
    "query.rate_per_second": rate_per_second,
    "query.burst": burst,
    "agent.profile": profile,
    "sampling.interval_seconds": interval_seconds,
    "sampling.flush_seconds": flush_seconds,
    "sampling.disabled": disabled,
    "sampling.processes": processes,
    "forward.seconds": forward_seconds,
    "forward.bytes_per_second": bytes_per_second,
    "alert": alert,
}


def test_every_key_is_tried() -> None:
    assert EFFECTS.keys() == {name for name, key in KEYS.items() if key.live}
    assert RESTARTED.keys() == {name for name, key in KEYS.items() if not key.live}


@pytest.mark.parametrize("name", EFFECTS)
async def test_a_key_counts_at_once(rig: Rig, name: str) -> None:
    await EFFECTS[name](rig)


class Restarted(NamedTuple):
    """A value, and how it can be seen: a line of leaf.conf, what the store's limit was made from, a variable of the leaf's environment."""

    value: Any
    seen: str


RESTARTED = {
    "leaf.store_max_bytes": Restarted(544 << 20, f"max_file_store: {544 << 20}\n"),
    "leaf.free_floor_bytes": Restarted(99 << 20, f'"floor_bytes":{99 << 20},'),
    "leaf.memory_store_max_bytes": Restarted(9 << 20, f"max_memory_store: {9 << 20}\n"),
    "leaf.go_memory_limit_bytes": Restarted(33 << 20, f"GOMEMLIMIT={33 << 20}B\0"),
    "leaf.sync_seconds": Restarted(7.0, 'sync_interval: "7000ms"\n'),
    "leaf.reconnect_seconds": Restarted(0.25, 'reconnect: "250ms"\n'),
    "leaf.ping_seconds": Restarted(11.0, 'ping_interval: "11000ms"\n'),
    "leaf.restart_cap_seconds": Restarted(3.0, "cap of 3 s"),
}


async def test_the_other_keys_count_from_the_next_start_on(rig: Rig) -> None:
    """Set and taken away again; until the start the report names them."""
    wanted = {name: one.value for name, one in RESTARTED.items()}
    assert not [one for one in RESTARTED.values() if one.seen in leaf(rig)]
    leafs = pid_of_the_leaf(rig)
    await rig.set(wanted, BERLIN)
    state = await state_of(rig.client, ID)
    assert sorted(state.restart) == sorted(RESTARTED) and state.values == wanted
    assert not [one for one in RESTARTED.values() if one.seen in leaf(rig)[:-1]] and pid_of_the_leaf(rig) == leafs
    await rig.restarted()
    await rig.pi.reports(rig.client, lambda state: state.restart == [] and state.values == wanted, "nothing waits")
    assert [name for name, one in RESTARTED.items() if one.seen not in leaf(rig)] == []
    await rig.set({}, BERLIN)
    assert sorted((await state_of(rig.client, ID)).restart) == sorted(RESTARTED)
    for _ in range(2):  # the leaf's bound falls only after what its streams were promised has fallen
        await rig.restarted()
        await rig.pi.reports(rig.client, lambda state: state.restart == [], "nothing waits")
    assert not [name for name, one in RESTARTED.items() if one.seen in leaf(rig)]


def pid_of_the_leaf(rig: Rig) -> int:
    return int((rig.pi.device.state / "leaf.pid").read_text())


def leaf(rig: Rig) -> str:
    """All that shows how the leaf runs; how its supervisor would start it again shows nowhere, so that is what the agent would begin with."""
    state, own = rig.pi.device.state, settings.load(rig.pi.device.settings)
    values = lastgood.effective(own, ID, rig.pi.groups, lastgood.load(state))
    began = leaf_options(with_config(own, values), identify(Machine(), state, ID))
    environment = Path(f"/proc/{pid_of_the_leaf(rig)}/environ").read_text()
    return (
        (state / "leaf.conf").read_text()
        + (state / STORE_LIMIT).read_text()
        + environment
        + f"cap of {began.timing.cap_seconds:g} s"
    )
