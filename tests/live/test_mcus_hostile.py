"""Microcontrollers, and programs that speak MQTT, which lie, flood and break the rules: bounded, told, and the agent and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.bridge.leafmqtt import MAX_STORING_BYTES
from edgeagent.errors import Failed
from edgeagent.localsubjects import LOCAL_DATA
from edgeagent.mcumessages import MAX_NUMBER, MAX_WORD
from edgeagent.patterns.mcu import BURST_LINES, MAX_LINES
from edgeagent.patterns.mcureadings import MAX_WAITING
from tests.support import mqttleaf
from tests.support.mqttleaf import PASSWORD, MqttLeaf
from tests.support.mqttside import Ours
from tests.support.servers import until


@pytest_asyncio.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[MqttLeaf]:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    async with mqttleaf.running(tmp_path / "state", mcu_ids=["fridge", "oven"], programs=["doors"]) as made:
        yield made
        assert not faults, "an error within a callback"
        assert not made.tasks._failed.done(), "a task of the agent's failed: that ends an agent"


@contextlib.asynccontextmanager
async def client(leaf: MqttLeaf, user: str, *topics: str) -> AsyncIterator[Ours]:
    async with Ours(leaf.port, client_id=user.partition(".")[0], user=user, password=PASSWORD) as made:
        made.client.subscribe(dict.fromkeys(topics, 1))
        await made.connected()
        yield made


async def goes_on(leaf: MqttLeaf) -> None:
    """Another one is heard."""
    async with client(leaf, "fridge") as fridge:
        before = len(await leaf.values("mcu.alive"))
        fridge.client.publish("mcu/fridge/metric/alive", b"1")

        async def heard() -> bool:
            return len(await leaf.values("mcu.alive")) > before

        await until(heard, "the others go on")


async def test_samples_with_as_many_texts_as_a_sample_may_have_are_told_and_let_go(leaf: MqttLeaf) -> None:
    """With the attribute that names it there is one too many."""
    texts = {f"t{index}": "x" for index in range(16)}
    async with client(leaf, "oven") as oven:
        oven.client.publish("mcu/oven/metric", json.dumps({"heat": 1, **texts}).encode())
        await until(lambda: oven.client.status().waiting == 0 and leaf.relay.dropped == 1, "counted, and acknowledged")
        assert "attributes" in leaf.mcus.lines("oven")[-1].text
    await goes_on(leaf)


@pytest.mark.parametrize(
    ("user", "topic"), [("oven", "mcu/oven/out"), ("doors.mqtt", "local/action/doors/open/reply")], ids=["mcu", "program"]
)
async def test_what_is_nested_without_end_is_no_error_of_ours(leaf: MqttLeaf, user: str, topic: str) -> None:
    since = leaf.relay.status().since
    async with client(leaf, user) as one:
        for head in (b'{"t":"x","a":', b'{"t":"res","id":"1","v":', b'{"id":'):
            one.client.publish(topic, head + b"[" * 200_000)
        await until(lambda: one.client.status().waiting == 0, "all are acknowledged")
    await goes_on(leaf)
    assert leaf.relay.status().since == since, "the agent's own connection went on"


async def test_boots_that_are_made_up_and_numbers_without_end_are_bounded(leaf: MqttLeaf) -> None:
    leaf.mcus._of("oven")
    await until(lambda: leaf.mcus._of("oven").readings.is_ready, "ready")
    for index in range(3000):
        boot = '"' * 58 + str(index)
        message = {"t": "hello", "b": boot, "o": MAX_NUMBER - 1, "lost": MAX_NUMBER - 1}
        leaf.mcus.heard("oven", json.dumps(message).encode())
        assert leaf.mcus.status()[1].waiting <= MAX_WAITING

    async def counted() -> int:
        return len(await leaf.values("mcu.readings_lost"))

    async def is_counted() -> bool:
        return await counted() > 0

    await until(is_counted, "they are counted")
    leaf.mcus.heard("oven", json.dumps({"t": "r", "b": "true", "s": 1, "v": {"heat": 1}}).encode())

    async def stored() -> bool:
        return await leaf.values("mcu.heat") == [1]

    await until(stored, "it is still heard")
    assert await counted() < 50, "not each of them is written"


async def test_what_it_says_of_itself_is_cut(leaf: MqttLeaf) -> None:
    long = "x" * 1500
    leaf.mcus.heard("oven", json.dumps({"t": "hello", "id": long, "fw": long, "hw": long, "acts": [long]}).encode())
    found = leaf.mcus.status()[1]
    assert (len(found.firmware), len(found.hardware), len(found.actions[0])) == (MAX_WORD,) * 3
    leaf.mcus.heard("oven", b'{"t":"hello","fw":"' + b"y" * 200_000 + b'"}')
    assert leaf.mcus.status()[1].malformed == 1, "what is longer than any message is none"


async def test_a_flood_of_lines_is_bounded_and_counted(leaf: MqttLeaf) -> None:
    async with client(leaf, "oven") as oven:
        oven.client.publish("mcu/oven/log", b"\n".join([b"\x1b[2J hot"] * 50_000), qos=1)
        oven.client.publish("mcu/oven/log", b"x\n" * (2 * BURST_LINES), qos=1)
        await until(lambda: oven.client.status().waiting == 0, "acknowledged")
        await goes_on(leaf)
        assert len(leaf.mcus.lines("oven")) == MAX_LINES

        async def told() -> bool:
            oven.client.publish("mcu/oven/log", b"and now", qos=0)
            return any("lines were left out" in each.text for each in leaf.mcus.lines("oven"))

        await until(told, "how many are missing is said")
    assert not any("\x1b" in each.text for each in leaf.mcus.lines("oven"))


async def test_an_answer_that_nobody_could_read_is_a_failure(leaf: MqttLeaf) -> None:
    async with client(leaf, "oven", "mcu/oven/in") as oven:
        await until(lambda: leaf.mcus.status()[1].state == "online", "it is online")
        asked = asyncio.create_task(leaf.mcus.command("oven", "led", {}, command_id="01X"))
        await until(lambda: any(b'"01X"' in each for each in oven.payloads), "it is told")
        oven.client.publish("mcu/oven/out", b'{"t":"res","id":"01X","v":' + b"[" * 800 + b"]" * 800 + b"}")
        with pytest.raises(Failed, match="its answer can't be used"):
            await asked


async def test_large_messages_wait_for_a_store_that_is_away_in_bounded_memory(leaf: MqttLeaf) -> None:
    """With QoS 0 nobody holds the sender back."""
    size = 500_000
    async with client(leaf, "doors.mqtt") as doors:
        await leaf.delete(LOCAL_DATA)

        async def is_full() -> bool:
            doors.client.publish("local/data/doors", b"x" * size, qos=0)
            assert len(leaf.relay._storing) * size <= MAX_STORING_BYTES
            return leaf.relay.dropped > 0

        await until(is_full, "what has no room is counted")
    await goes_on(leaf)


async def test_large_messages_that_wanted_an_acknowledgement_are_stored_when_the_store_is_back(leaf: MqttLeaf) -> None:
    """More than there is room for: what was not taken comes again."""
    size, wanted = 500_000, {bytes([65 + index]) for index in range(24)}
    async with client(leaf, "doors.mqtt") as doors:
        await leaf.delete(LOCAL_DATA)
        for each in wanted:
            doors.client.publish("local/data/doors", each * size, qos=1)
        await until(lambda: leaf.relay._mqtt._missed, "there is no room for some")
        assert len(leaf.relay._storing) * size <= MAX_STORING_BYTES
        await leaf.make_stores()

        async def are_there() -> bool:
            return {payload[:1] for _, payload in await leaf.data()} == wanted

        await until(are_there, "all are stored", seconds=60)
    assert leaf.relay.dropped == 0
    await goes_on(leaf)
