"""What comes from a broker, into the leaf's store: the broker is told that we have a message when it is on disk, and not before."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec

from edgeagent.backoff import delays
from edgeagent.bridge.brokerstate import Taken
from edgeagent.bridge.mapping import Rule, data_topic, fitting, samples
from edgeagent.bridge.mqttshapes import MqttMessage
from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.link import Client
from edgeagent.localsubjects import local_data
from edgeagent.patterns.samplewriter import SampleWriter
from edgeagent.publish import TooLarge, published
from edgeagent.runtime import woken
from edgeagent.sample import Sample

__all__ = ["Intake"]

#: What may wait for the store: more messages than may be unacknowledged with us, so that only those that need no acknowledgement are
#: dropped for their number, and so many bytes.
MAX_MESSAGES, MAX_BYTES = 2000, 8 << 20
#: Of these so many of QoS 0.
MAX_UNACKNOWLEDGED = 1000
#: So many are stored together.
BATCH = 50
#: Bounds of the pause after the store took nothing, in seconds.
RETRY_SECONDS = (0.5, 30.0)


class _Waiting(NamedTuple):
    message: MqttMessage
    rule: Rule
    time: float


class Intake:
    """name: of the broker. is_own: whether a topic is one of those on which we publish. taken: what was taken last.
    miss: as :meth:`MqttClient.miss`.

    count: messages that were stored. dropped: those that had no room; of QoS 1 they come again. malformed: those
    that could not be read, unreadable: the topic of the last of them.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        rules: list[Rule],
        taken: Taken,
        is_own: Callable[[str], bool],
        miss: Callable[[MqttMessage], None],
    ) -> None:
        self._client, self._name, self._rules, self._taken, self._is_own = client, name, rules, taken, is_own
        self._miss = miss
        self._writer = SampleWriter(client)
        self._waiting: deque[_Waiting] = deque()
        self._bytes = self._unacknowledged = 0
        self._wake = asyncio.Event()
        self.count = self.dropped = self.malformed = 0
        self.unreadable = ""
        #: Why the store takes nothing, None when it does.
        self.problem: EdgeError | None = None

    def take(self, message: MqttMessage) -> None:
        """It came. What is not wanted is acknowledged at once: our own, and retained messages that came before."""
        rule = None if self._is_own(message.topic) else fitting(self._rules, message.topic)
        if rule is None or (message.retain and self._taken.is_old(message.topic, message.payload)):
            message.ack()
            return
        full = len(self._waiting) >= MAX_MESSAGES or self._bytes + len(message.payload) > MAX_BYTES
        if full or (not message.qos and self._unacknowledged >= MAX_UNACKNOWLEDGED):
            self.dropped += 1
            self._miss(message)
            return
        self._waiting.append(_Waiting(message, rule, round(time.time(), 3)))
        self._bytes += len(message.payload)
        self._unacknowledged += not message.qos
        self._wake.set()

    async def run(self) -> None:
        """Store for ever."""
        while True:
            await woken(self._wake, None)
            while self._waiting:
                await self._store(list(islice(self._waiting, BATCH)))

    async def _store(self, batch: list[_Waiting]) -> None:
        found: list[Sample] = []
        for each in batch:
            if each.rule.as_data:
                await self._until_stored(partial(self._data, each))
            else:
                found += self._read(each)
        if found:
            self._writer.add(f"mqtt.{self._name}", found)
            await self._until_stored(self._flush)
        for each in batch:
            self._waiting.popleft()
            self._bytes -= len(each.message.payload)
            self._unacknowledged -= not each.message.qos
            self._taken.add(each.message.topic, each.message.payload)
            each.message.ack()
            self.count += 1

    def _read(self, each: _Waiting) -> list[Sample]:
        try:
            found = samples(each.rule, each.message.topic, each.message.payload)
        except UsageProblem:
            self.malformed += 1
            self.unreadable = each.message.topic[:200]
            return []
        return [msgspec.structs.replace(sample, time=each.time) for sample in found]

    async def _until_stored(self, store: Callable[[], Awaitable[EdgeError | None]]) -> None:
        for pause in delays(*RETRY_SECONDS):
            self.problem = await store()
            if self.problem is None:
                return
            await asyncio.sleep(pause)

    async def _flush(self) -> EdgeError | None:
        return await self._writer.flush()

    async def _data(self, each: _Waiting) -> EdgeError | None:
        subject = local_data(data_topic(self._name, each.message.topic))
        try:
            await published(self._client, subject, each.message.payload)
        except TooLarge:
            self.dropped += 1
        except EdgeError as error:
            return error
        return None
