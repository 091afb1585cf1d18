"""MQTT clients (paho-mqtt) of a leaf, and what they heard; also one in a process of its own, to be stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt

from edgeagent import mcus
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.mqttconf import AGENT_USER
from edgeagent.mcus import Mcu
from tests.support.servers import PATIENCE_SECONDS, until

__all__ = ["Heard", "Login", "Peer", "as_agent", "as_mcu", "give", "peer", "stuck"]


class Heard(NamedTuple):
    topic: str
    payload: bytes
    retained: bool


class Login(NamedTuple):
    """Where and as whom. ca: whom to trust; None: no TLS."""

    port: int
    user: str | None
    password: str
    host: str = "127.0.0.1"
    ca: Path | None = None


async def give(leaf: Leaf, *ids: str) -> None:
    """Have just these microcontrollers, each with the password ``pw-<id>``, and tell the leaf."""
    mcus.save(leaf.options.mcus_file, {each: Mcu(id=each, password=f"pw-{each}") for each in ids})
    await leaf.apply()


def port_of(leaf: Leaf) -> int:
    assert leaf.mqtt.conf, leaf.mqtt.problem
    return leaf.mqtt.conf.port


def as_mcu(leaf: Leaf, mcu_id: str) -> Login:
    return Login(port_of(leaf), mcu_id, f"pw-{mcu_id}")


def as_agent(leaf: Leaf) -> Login:
    return Login(port_of(leaf), AGENT_USER, leaf.agent_password)


class Peer:
    """One client. ends: why its connections ended. refused: what the broker said to CONNECT; empty: it let us in."""

    def __init__(self, login: Login, client_id: str, *, clean: bool, will: tuple[str, str] | None = None) -> None:
        self.heard: list[Heard] = []
        self.ends: list[str] = []
        self.refused: str | None = None
        self.session_present = False
        self._acked: set[int] = set()
        self._granted: dict[int, bool] = {}
        self._client = made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean)
        made.username_pw_set(login.user, login.password if login.user else None)
        made.reconnect_delay_set(0.1, 0.5)
        if login.ca:
            made.tls_set_context(ssl.create_default_context(cafile=str(login.ca)))
        if will:
            made.will_set(*will, qos=1, retain=True)
        made.on_connect, made.on_disconnect = self._connected, self._ended
        made.on_message, made.on_publish, made.on_subscribe = self._message, self._published, self._subscribed
        made.connect(login.host, login.port, keepalive=30)
        made.loop_start()

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.session_present = flags.session_present
        self.refused = str(reason) if reason.is_failure else ""

    def _ended(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.ends.append(str(reason))

    def _message(self, client: Any, data: Any, message: mqtt.MQTTMessage) -> None:
        self.heard.append(Heard(message.topic, message.payload, message.retain))

    def _published(self, client: Any, data: Any, number: int, reason: Any, properties: Any) -> None:
        self._acked.add(number)

    def _subscribed(self, client: Any, data: Any, number: int, reasons: Any, properties: Any) -> None:
        self._granted[number] = not any(reason.is_failure for reason in reasons)

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected()

    async def subscribed(self, topic: str) -> bool:
        """Whether the broker granted it."""
        number = self._client.subscribe(topic, 1)[1]
        assert number
        await until(lambda: number in self._granted, f"SUBACK for {topic}")
        return self._granted[number]

    def send(self, topic: str, payload: bytes | str, *, retain: bool = False, qos: int = 1) -> int:
        return self._client.publish(topic, payload, qos=qos, retain=retain).mid

    async def sent(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        """Publish with QoS 1, until PUBACK."""
        await self.acknowledged(self.send(topic, payload, retain=retain))

    async def acknowledged(self, *numbers: int) -> None:
        await until(lambda: self._acked.issuperset(numbers), "PUBACK")

    @property
    def topics(self) -> list[str]:
        return [each.topic for each in self.heard]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def drop(self) -> None:
        """End the connection as a reset does: no DISCONNECT."""
        self._client._sock_close()  # type: ignore[no-untyped-call]  # paho-mqtt has no other way
        self._client.loop_stop()


@contextlib.asynccontextmanager
async def peer(
    login: Login, client_id: str = "", *, clean: bool = True, will: tuple[str, str] | None = None
) -> AsyncIterator[Peer]:
    """A client that the broker has answered."""
    made = Peer(login, client_id, clean=clean, will=will)
    try:
        await until(lambda: made.refused is not None, "CONNACK")
        yield made
    finally:
        made.close()


_STUCK = """
import sys, paho.mqtt.client as mqtt
host, port, user, password, topic = sys.argv[1:]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="stuck", clean_session=False)
client.username_pw_set(user, password)
client.on_connect = lambda c, *_: c.subscribe(topic, 1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.on_message = lambda c, d, message: print(message.payload.decode(), flush=True)
client.connect(host, int(port))
client.loop_forever()
"""


@contextlib.asynccontextmanager
async def stuck(login: Login, topic: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A client in a process that subscribed to ``topic``, and stands still (SIGSTOP) from then on."""
    words = [login.host, str(login.port), str(login.user), login.password, topic]
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _STUCK, *words, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        assert line == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        await process.wait()


@contextlib.contextmanager
def listening(port: int, host: str = "127.0.0.1") -> Iterator[None]:
    """Another program that has the port."""
    with socket.create_server((host, port)):
        yield
