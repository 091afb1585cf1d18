"""Readings of a microcontroller until they are on the device's disk and acknowledged: over serial, and by MQTT to the leaf; beside what one would
build at home: a script between the port and mosquitto, and mosquitto alone."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgeagent.bridge.frames import Decoder, encode
from edgeagent.bridge.serialmcus import SerialMcus
from edgeagent.machine import Machine
from edgeagent.serialsettings import SerialMcu
from tests.support import mosquitto, mqttleaf
from tests.support.mqttside import Ours
from tests.support.servers import until
from tests.support.virtualmcu import Cable, VirtualMcu

READINGS, ROUNDS = 3000, 3
#: How many messages of QoS 1 may be on their way at once: mosquitto's default.
IN_FLIGHT = 20


async def main() -> None:
    print(
        f"{READINGS:,} readings of a microcontroller, each acknowledged when it is stored; readings a second, median of {ROUNDS}"
    )
    serial = [(await _over_serial(), await _by_a_script()) for _ in range(ROUNDS)]
    mqtt = [(await _by_mqtt(), await _mosquitto_alone()) for _ in range(ROUNDS)]
    _say("over serial, framed", "pyserial's part at home: a script to mosquitto, QoS 1", serial)
    _say("by MQTT to the leaf, QoS 1", "mosquitto alone, QoS 1, with a subscriber", mqtt)


def _say(ours: str, theirs: str, rounds: list[tuple[float, float]]) -> None:
    mine, other = (statistics.median(READINGS / each[side] for each in rounds) for side in (0, 1))
    print(f"  {ours:<30} {mine:8,.0f}\n  {theirs:<56} {other:8,.0f}\n  {'ratio':<30} {mine / other:8.2f}")


@asynccontextmanager
async def _board(folder: Path) -> AsyncIterator[tuple[VirtualMcu, str]]:
    """One with everything measured and waiting, and its port."""
    async with VirtualMcu(folder, "oven", Cable(), count=READINGS, interval=0.0, ring=READINGS + 1) as board:
        port = board.cable.plug()
        await until(lambda: len(board.did("made")) == READINGS, "it has measured", 120)
        yield board, port


async def _over_serial() -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with mqttleaf.running(folder / "state", mcu_ids=["x"]) as leaf, _board(folder / "mcu") as (_, port):
            bridge = SerialMcus(leaf.mcus, Machine(), {"oven": SerialMcu(port=port)})
            began = time.monotonic()
            leaf.tasks.start("serial", bridge.run())
            await until(lambda: _taken(leaf) == READINGS, "all are stored", 120)
            return time.monotonic() - began


def _taken(leaf: mqttleaf.MqttLeaf) -> int:
    """That are on disk."""
    return sum(each.readings - each.waiting for each in leaf.mcus.status() if each.id == "oven")


async def _by_a_script() -> float:
    """Reads frames, publishes each, and acknowledges it when mosquitto has."""
    with tempfile.TemporaryDirectory() as name:
        async with (
            mosquitto.running(Path(name) / "broker") as broker,
            _board(Path(name) / "mcu") as (_, port),
            Ours(broker.port) as client,
        ):
            await client.connected()
            began = time.monotonic()
            await _carry(port, client)
            return time.monotonic() - began


async def _carry(port: str, client: Ours) -> None:
    import serial

    line, decoder, last, boot = serial.Serial(port, timeout=0), Decoder(), 0, ""
    line.write(b"\n" + encode(b'{"t":"hi"}'))
    while last < READINGS:
        for found in decoder.feed(line.read(4096)):
            said = json.loads(found.data) if found.is_frame else {}
            if said.get("t") == "r" and said["s"] == last + 1:
                last, boot = said["s"], said["b"]
                client.client.publish("readings", json.dumps(said["v"]).encode())
        if client.client.status().waiting == 0 and boot:
            line.write(encode(json.dumps({"t": "ack", "b": boot, "s": last}).encode()))
        await asyncio.sleep(0.001)
    await until(lambda: client.client.status().waiting == 0, "all are acknowledged", 60)
    line.close()


async def _by_mqtt() -> float:
    with tempfile.TemporaryDirectory() as name:
        async with mqttleaf.running(Path(name) / "state", mcu_ids=["oven"]) as leaf, _client(leaf.port) as oven:
            await oven.connected()
            began = time.monotonic()
            await _publish(oven, "mcu/oven/metric")

            async def stored() -> bool:
                await asyncio.sleep(0.05)
                return len(await leaf.values("mcu.n")) >= READINGS

            await until(stored, "all are stored", 120)
            return time.monotonic() - began


def _client(port: int) -> Ours:
    return Ours(port, client_id="oven", user="oven", password=mqttleaf.PASSWORD, queue=READINGS)


async def _mosquitto_alone() -> float:
    """It may keep more than 1,000 messages for a subscriber that is slower; by itself it drops them, also those of QoS 1."""
    with tempfile.TemporaryDirectory() as name:
        async with (
            mosquitto.running(Path(name) / "broker", "max_queued_messages 0") as broker,
            _client(broker.port) as here,
            Ours(broker.port, client_id="there") as there,
        ):
            there.client.subscribe({"readings": 1})
            await there.connected()
            await here.connected()
            await until(lambda: here.client.publish("readings", b"0") and bool(there.heard), "there listens")
            await until(lambda: here.client.status().waiting == 0, "all of these are acknowledged")
            there.heard.clear()
            began = time.monotonic()
            await _publish(here, "readings")
            await until(lambda: len(there.heard) >= READINGS, "all were heard", 120)
            return time.monotonic() - began


async def _publish(client: Ours, topic: str) -> None:
    """With at most IN_FLIGHT unacknowledged."""
    for number in range(READINGS):
        client.client.publish(topic, _payload(number))
        while client.client.status().waiting >= IN_FLIGHT:  # noqa: ASYNC110 - a client's own pace
            await asyncio.sleep(0)


def _payload(number: int) -> bytes:
    values: dict[str, Any] = {"n": number, "on": number % 2 == 0}
    return json.dumps(values).encode()
