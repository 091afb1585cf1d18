"""The leaf's own MQTT clients: what microcontrollers and programs say there goes on to where it belongs, and back. docs/wire.md has the topics.

Nothing of that account crosses to another one but through here, so nothing from the hub reaches a microcontroller by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from edgeagent import localsubjects
from edgeagent.backoff import delays
from edgeagent.bridge.leafclients import LeafClients
from edgeagent.bridge.mqttclient import MqttClient, MqttMessage, MqttOptions, MqttStatus
from edgeagent.errors import EdgeError, Unreachable, UsageProblem
from edgeagent.leaf.mqttconf import ACCOUNT, app_user
from edgeagent.link import Client
from edgeagent.patterns.mcu import Transport
from edgeagent.patterns.mcus import Mcus
from edgeagent.publish import TooLarge, published
from edgeagent.runtime import Tasks, jittered
from edgeagent.sample import parse
from edgeagent.subjects import is_token

__all__ = ["LeafMqtt"]

log = logging.getLogger("edgeagent")

#: What is heard, and how: what is measured with QoS 1, so that it waits for us while the agent is away.
FILTERS = {
    "mcu/+/out": 1,
    "mcu/+/metric/#": 1,  # `mcu/+/metric` too; of two that overlap nats-server would deliver each message twice
    "mcu/+/log": 0,
    "local/metric/#": 1,
    "local/data/#": 1,
    "local/action/+/+/reply": 0,
}
#: So many messages are on their way to the store; more are dropped if they are of QoS 0, and the leaf holds back those of QoS 1.
MAX_STORING = 500
#: The same in bytes: a message may have 512 KiB.
MAX_STORING_BYTES = 8 << 20
#: What is read of a message with lines of a log, in bytes.
MAX_LOG_BYTES = 8192
#: Bounds of the pause after the store did not take one, in seconds.
RETRY_SECONDS = (0.2, 10.0)


class _McuClient:
    """A microcontroller that is connected by MQTT."""

    kind, where, damaged = "mqtt", "the leaf's MQTT", 0
    silent_seconds = 0.0  # the leaf knows whether it is connected

    def __init__(self, mcu_id: str, publish: Callable[..., bool]) -> None:
        self._topic, self._publish = f"mcu/{mcu_id}/in", publish

    def send(self, message: bytes) -> None:
        """With QoS 0: what matters is sent again, and nothing may wait for one that is away, an order least of all."""
        self._publish(self._topic, message, qos=0)


class LeafMqtt:
    """options: of the agent's own client. client: to the leaf's streams. system: to its system account. mcus: the register.

    mcu_ids, programs: those that have a login for MQTT; asked whenever somebody comes.
    """

    def __init__(
        self,
        options: MqttOptions,
        client: Client,
        system: Client,
        mcus: Mcus,
        *,
        mcu_ids: Callable[[], Iterable[str]],
        programs: Callable[[], Iterable[str]],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._mqtt = MqttClient(options, on_message=self._heard, on_change=self._changed)
        self._client, self._mcus, self._mcu_ids, self._programs, self._on_change = client, mcus, mcu_ids, programs, on_change
        self._clients = LeafClients(system, ACCOUNT, self._who)
        self._there: dict[str, Transport] = {}
        self._storing: set[asyncio.Task[None]] = set()
        self._storing_bytes = 0
        self._tasks: Tasks | None = None
        self._tables: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        self._answers: dict[tuple[str, str], asyncio.Future[bytes]] = {}
        self._was_connected = False
        #: Messages that no store could take, and those of QoS 0 that had no room.
        self.dropped = 0

    def start(self, tasks: Tasks) -> None:
        """Carry from now on, until ``tasks`` are closed; then :meth:`close`."""
        self._tasks = tasks
        self._mqtt.subscribe(FILTERS)
        self._mqtt.start()
        tasks.start("MQTT clients of the leaf", self._clients.run())

    async def close(self) -> None:
        for task in self._storing:
            task.cancel()
        await self._mqtt.close()
        for mcu_id, transport in self._there.items():
            self._mcus.detach(mcu_id, transport)
        self._there = {}

    def status(self) -> MqttStatus:
        """Of our own connection."""
        return self._mqtt.status()

    def restless(self) -> dict[str, str]:
        """Logins whose connection ends all the time, with the leaf's reason."""
        return self._clients.restless()

    def set_configuration(self, apps: Mapping[str, Mapping[str, Any]], mcus: Mapping[str, Mapping[str, Any]]) -> None:
        """What the configuration has for programs and microcontrollers, by name: retained, for each that has a login."""
        self._tables = {"local/config": apps, "mcu": mcus}
        self._say_tables()

    def logins_changed(self) -> None:
        """There are others than before."""
        self._say_tables()
        self._who(self._clients.users)

    async def ask(self, app: str, action: str, body: bytes, seconds: float) -> bytes | None:
        """The answer of the program ``app``, a JSON object with the ``id`` of the question; None: it is not connected, so it was not asked.

        body: JSON with an ``id``. Raises Unreachable when it does not answer. With QoS 0: an order must not wait for a program that is away.
        """
        what = f"ask {app} by MQTT for {action}"
        if app_user(app) not in self._clients.users:
            return None
        topic = f"local/action/{app}/{action}"
        key = (f"{topic}/reply", str(msgspec.json.decode(body, type=dict[str, Any]).get("id", "")))
        answer = self._answers[key] = asyncio.get_running_loop().create_future()
        try:
            if not self._mqtt.publish(topic, body, qos=0):
                raise Unreachable(what, "the agent's own MQTT client is not connected")
            await asyncio.wait({answer}, timeout=seconds)
            if not answer.done():
                raise Unreachable(what, f"no answer within {seconds:g} s")
            return bytes(answer.result())
        finally:
            self._answers.pop(key, None)

    def _changed(self) -> None:
        connected = self._mqtt.status().connected
        if connected and not self._was_connected:
            self._say_tables()
        self._was_connected = connected
        self._on_change()

    def _who(self, users: set[str]) -> None:
        ids = set(self._mcu_ids())
        for mcu_id in sorted(ids & users - self._there.keys()):
            self._there[mcu_id] = transport = _McuClient(mcu_id, self._mqtt.publish)
            self._mcus.attach(mcu_id, transport)
        for mcu_id in sorted(self._there.keys() - (ids & users)):
            self._mcus.detach(mcu_id, self._there.pop(mcu_id), "it is not connected")
        self._on_change()

    def _say_tables(self) -> None:
        """A program's table is always told, so that one that was taken away is ``{}``; all of them when we are connected (again)."""
        if not self._mqtt.status().connected:
            return
        wanted = {"local/config/{}": (self._programs(), "local/config"), "mcu/{}/config": (self._mcu_ids(), "mcu")}
        for topic, (names, kind) in wanted.items():
            for name in names:
                table = msgspec.json.encode(self._tables.get(kind, {}).get(name, {}), order="deterministic")
                self._mqtt.publish(topic.format(name), table, qos=1, retain=True)

    def _heard(self, message: MqttMessage) -> None:
        words = message.topic.split("/")
        if message.retain or len(words) < 3:  # what is kept there was heard when it was new
            message.ack()
        elif words[0] == "mcu":
            self._of_mcu(words[1], words[2], words[3:], message)
        elif words[1] == "action":
            message.ack()
            self._reply(message)
        else:
            self._store(message, self._program_work(words, message))

    def _of_mcu(self, mcu_id: str, kind: str, more: list[str], message: MqttMessage) -> None:
        if kind == "metric":
            self._store(message, self._mcu_work(mcu_id, more, message))
            return
        message.ack()  # a reading is sent again until it is acknowledged in its own words
        if kind == "out":
            self._mcus.heard(mcu_id, message.payload)
        elif kind == "log":
            for line in message.payload[:MAX_LOG_BYTES].decode(errors="replace").splitlines():
                self._mcus.line(mcu_id, line)

    def _reply(self, message: MqttMessage) -> None:
        try:
            own = str(msgspec.json.decode(message.payload, type=dict[str, Any]).get("id", ""))
        except (ValueError, RecursionError):
            return
        answer = self._answers.get((message.topic, own))
        if answer is not None and not answer.done():
            answer.set_result(message.payload)

    def _store(self, message: MqttMessage, work: Any) -> None:
        size = len(message.payload)
        if len(self._storing) >= MAX_STORING or self._storing_bytes + size > MAX_STORING_BYTES or self._tasks is None:
            work.close()
            self.dropped += message.qos == 0
            self._mqtt.miss(message)
            return
        task = self._tasks.start(f"store {message.topic}", work)
        self._storing.add(task)
        self._storing_bytes += size
        task.add_done_callback(partial(self._stored, size))

    def _stored(self, size: int, task: asyncio.Task[None]) -> None:
        self._storing.discard(task)
        self._storing_bytes -= size

    async def _mcu_work(self, mcu_id: str, more: list[str], message: MqttMessage) -> None:
        subject = ".".join(["local", "metric", "mcu", *more])
        try:
            samples = parse(subject, message.payload)
            await self._mcus.store(mcu_id, samples)
        except UsageProblem as error:
            self.dropped += 1
            self._mcus.line(mcu_id, f"(no samples on {message.topic}: {error.why})")
        message.ack()

    async def _program_work(self, words: list[str], message: MqttMessage) -> None:
        """A topic that is no subject of a program's is acknowledged and dropped: it would come again for ever."""
        if not all(map(is_token, words[2:])):
            self.dropped += 1
            message.ack()
            return
        make = localsubjects.local_metric if words[1] == "metric" else localsubjects.local_data
        subject, pauses = make(".".join(words[2:])), delays(*RETRY_SECONDS)
        while True:
            try:
                await published(self._client, subject, message.payload, what=f"store {subject}")
                break
            except TooLarge as error:
                self.dropped += 1
                log.warning("a message of %s is dropped: %s", words[2], error.why)
                break
            except EdgeError as error:
                log.debug("%s", error)
                await asyncio.sleep(jittered(next(pauses)))
        message.ack()
