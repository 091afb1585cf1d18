"""Microcontrollers and programs that speak MQTT to the leaf: what they say comes to where it belongs, once it is stored, and orders wait for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent.bridge.leafclients import RESTLESS, users_in
from edgeagent.errors import Refused
from edgeagent.natsserver.supervisor import State
from tests.support import mqttleaf
from tests.support.mqttleaf import PASSWORD, MqttLeaf
from tests.support.mqttside import Ours
from tests.support.servers import kill, until


@pytest_asyncio.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[MqttLeaf]:
    async with mqttleaf.running(tmp_path / "state", mcu_ids=["fridge", "oven"], programs=["doors"]) as made:
        yield made


@contextlib.asynccontextmanager
async def client(leaf: MqttLeaf, user: str, *topics: str) -> AsyncIterator[Ours]:
    """One of them, connected, and subscribed to ``topics``."""
    async with Ours(leaf.port, client_id=user.partition(".")[0], user=user, password=PASSWORD) as made:
        made.client.subscribe(dict.fromkeys(topics, 1))
        await made.connected()
        yield made


def state(leaf: MqttLeaf, mcu_id: str = "oven") -> str:
    return next(each.state for each in leaf.mcus.status() if each.id == mcu_id)


def said(mcu: Ours, kind: str) -> list[dict[str, Any]]:
    return [message for message in map(json.loads, mcu.payloads) if message.get("t") == kind]


async def online(leaf: MqttLeaf) -> None:
    await until(lambda: state(leaf) == "online", "it is online")


async def test_the_protocol_by_mqtt_across_lives_of_the_agent(leaf: MqttLeaf) -> None:
    """Each reading is sent until it is acknowledged, and stored once."""
    async with client(leaf, "oven", "mcu/oven/in") as oven:

        async def sent(seqs: range) -> None:
            last = seqs[-1]

            async def acknowledged() -> bool:
                if any(each["s"] >= last for each in said(oven, "ack")):
                    return True
                hello = {"t": "hello", "fw": "1.2.0", "b": "x", "o": 1}
                readings = [{"t": "r", "b": "x", "s": seq, "o": 1, "v": {"count": seq}} for seq in seqs]
                for message in (hello, *readings):
                    oven.client.publish("mcu/oven/out", json.dumps(message).encode(), qos=0)
                return False

            await until(acknowledged, f"all up to {last} are acknowledged")

        await online(leaf)
        await until(lambda: bool(said(oven, "hi")), "it is greeted")
        await sent(range(1, 6))
        await leaf.end()
        oven.heard.clear()
        await leaf.begin()
        await sent(range(1, 11))
    assert await leaf.values("mcu.count") == list(range(1, 11))
    assert leaf.mcus.status()[1].firmware == "1.2.0"


async def test_simple_topics_are_samples_of_the_microcontroller(leaf: MqttLeaf) -> None:
    """None of them is taken for one of the device's own."""
    wanted = {"mcu.temperature": 180.5, "mcu.door": 1, "mcu.grill.heat": 3, "mcu.system.cpu.utilization": 99}
    async with client(leaf, "oven") as oven:
        oven.client.publish("mcu/oven/metric", b'{"temperature": 180.5, "side": "left"}')
        oven.client.publish("mcu/oven/metric/door", b"true")
        oven.client.publish("mcu/oven/metric", b"grill,place=top heat=3i")
        oven.client.publish("mcu/oven/metric", b'{"samples": [{"metric": "system.cpu.utilization", "value": 99}]}')
        oven.client.publish("mcu/oven/metric", b"what is this")
        await until(lambda: _are(leaf, wanted), "all are stored")
        oven.client.publish("mcu/oven/log", b"hot\nvery hot", qos=0)
        await until(lambda: len(leaf.mcus.lines("oven")) == 3, "its lines are there")
    temperature = next(each for each in await leaf.samples() if each.metric == "mcu.temperature")
    assert temperature.attributes == {"side": "left", "mcu": "oven"}
    assert {"hot", "very hot"} < {each.text for each in leaf.mcus.lines("oven")}
    assert leaf.relay.dropped == 1, "what was no sample is acknowledged, and counted"
    assert {each.id: each.readings for each in leaf.mcus.status()}["oven"] == 4, "they are readings too, without numbers"


async def _are(leaf: MqttLeaf, wanted: dict[str, float]) -> bool:
    """Each of them once, and nothing else."""
    return sorted((each.metric, each.value) for each in await leaf.samples()) == sorted(wanted.items())


async def test_what_was_acknowledged_waits_for_an_agent_that_is_away(leaf: MqttLeaf) -> None:
    async with client(leaf, "oven") as oven, client(leaf, "doors.mqtt") as doors:
        oven.client.publish("mcu/oven/metric/heat", b"1")
        await until(lambda: _are(leaf, {"mcu.heat": 1}), "the agent has its session")
        await leaf.end()
        oven.client.publish("mcu/oven/metric/heat", b"2")
        doors.client.publish("local/metric/doors", b'{"open": 3}')
        doors.client.publish("local/data/doors/scan", b"\x00\xff")
        await until(lambda: oven.client.status().waiting + doors.client.status().waiting == 0, "acknowledged")
        pid = leaf.leaf.pid
        assert pid
        kill(pid)
        await until(lambda: leaf.leaf.state is State.RUNNING and leaf.leaf.pid not in (pid, None), "the leaf was started again")
        await leaf.begin()
        await until(lambda: _stored(leaf, 3), "both are stored")
        assert await leaf.values("mcu.heat") == [1, 2] and await leaf.values("doors.open") == [3]

        async def there() -> bool:
            return await leaf.data() == [("local.data.doors.scan", b"\x00\xff")]

        await until(there, "the message is stored")


async def test_a_leaf_that_stands_still_loses_and_doubles_nothing(leaf: MqttLeaf) -> None:
    pid = leaf.leaf.pid
    assert pid
    async with client(leaf, "oven") as oven:
        oven.client.publish("mcu/oven/metric/heat", b"1")
        await until(lambda: _are(leaf, {"mcu.heat": 1}), "it works")
        os.kill(pid, signal.SIGSTOP)
        try:
            for number in range(2, 12):
                oven.client.publish("mcu/oven/metric/heat", b"%d" % number)
            await asyncio.sleep(1)  # it stands still for so long, and nobody gives it up yet
            assert oven.client.status().waiting == 10
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: _stored(leaf, 11), "all are stored")
        assert await leaf.values("mcu.heat") == list(range(1, 12))


async def test_what_is_retained_there_is_not_taken_at_each_start(leaf: MqttLeaf) -> None:
    async with client(leaf, "oven") as oven:
        oven.client.publish("mcu/oven/metric/heat", b"1", retain=True)
        await until(lambda: _are(leaf, {"mcu.heat": 1}), "taken when it was new")
        for number in (2, 3):
            await leaf.end()
            await leaf.begin()
            oven.client.publish("mcu/oven/metric/heat", b"%d" % number)
            await until(lambda wanted=float(number): _last(leaf, wanted), "the next one is taken")
    assert await leaf.values("mcu.heat") == [1, 2, 3]


async def _stored(leaf: MqttLeaf, count: int) -> bool:
    return len(await leaf.samples()) == count


async def _last(leaf: MqttLeaf, wanted: float) -> bool:
    return (await leaf.values("mcu.heat"))[-1:] == [wanted]


async def test_it_is_online_while_it_is_connected_and_orders_wait_for_nobody(leaf: MqttLeaf) -> None:
    async with client(leaf, "oven", "mcu/oven/in"):
        await online(leaf)
        assert state(leaf, "fridge") == "offline"
    await until(lambda: state(leaf) == "offline", "it is gone")
    with pytest.raises(Refused, match="it is offline"):
        await leaf.mcus.command("oven", "led", {"on": 1})
    leaf.relay._mqtt.publish("mcu/oven/in", b'{"t":"cmd","id":"late","a":"led"}', qos=0)
    async with client(leaf, "oven", "mcu/oven/in") as oven:
        await online(leaf)
        await until(lambda: bool(said(oven, "hi")), "it is greeted")
        assert not said(oven, "cmd"), "what was said while it was away never comes, though it kept its session"


async def test_configuration_is_there_for_whoever_subscribes(leaf: MqttLeaf) -> None:
    leaf.relay.set_configuration({"doors": {"open": "07:00"}}, {"oven": {"interval": 5}})
    async with client(leaf, "oven", "mcu/oven/config") as oven, client(leaf, "doors.mqtt", "local/config/doors") as doors:
        await until(lambda: oven.payloads == [b'{"interval":5}'] and doors.payloads == [b'{"open":"07:00"}'], "both are told")
        leaf.relay.set_configuration({}, {"oven": {"interval": 6}})
        await until(lambda: oven.payloads[-1] == b'{"interval":6}' and doors.payloads[-1] == b"{}", "and told of changes")


async def test_one_whose_connection_ends_all_the_time_is_named(leaf: MqttLeaf) -> None:
    """A topic with a blank: the leaf ends the connection, and the client sends it again for ever. Others do not notice."""
    async with client(leaf, "fridge") as fridge, client(leaf, "oven") as oven:
        fridge.client.publish("mcu/fridge/metric/my door", b"1")
        await until(lambda: "fridge" in leaf.relay.restless(), f"it came {RESTLESS} times")
        oven.client.publish("mcu/oven/metric/heat", b"1")
        await until(lambda: _are(leaf, {"mcu.heat": 1}), "the others go on")
        assert set(leaf.relay.restless()) == {"fridge"}


async def test_a_message_that_no_store_takes_is_dropped_and_counted(leaf: MqttLeaf) -> None:
    async with client(leaf, "doors.mqtt") as doors:
        doors.client.publish("local/metric/doors", b"x" * (64 << 10))
        doors.client.publish("local/data/doors/a:b", b"1")
        doors.client.publish("local/metric/doors", b"1")
        await until(lambda: _are(leaf, {"doors": 1}), "what comes after it is stored")
        await until(lambda: leaf.relay.dropped == 2, "they are counted")
        await until(lambda: doors.client.status().waiting == 0, "and acknowledged")


def test_who_is_connected_is_read() -> None:
    answer = {"data": {"connections": [{"authorized_user": "oven", "mqtt_client": "x"}, {"authorized_user": "agent"}]}}
    assert users_in(json.dumps(answer).encode()) == {"oven"}
    assert users_in(b'{"data":{}}') == set()
