"""One MQTT client, for the leaf's own broker and for those that the user already has: it stays connected, and is bounded whatever comes.

MQTT 3.1.1 with a session that the broker keeps. What is to be sent waits for the broker, at most ``queue`` messages; one that has no
room is refused then and there, because only whoever publishes knows which of his is worth more.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeagent.backoff import Backoff
from edgeagent.bridge import mqttproblems
from edgeagent.bridge.mqttdial import dialled, password_of
from edgeagent.bridge.mqttshapes import MqttMessage, MqttOptions, MqttStatus, Will
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable
from edgeagent.runtime import Tasks, woken

if TYPE_CHECKING:
    from edgeagent.bridge.mqttpaho import Paho

__all__ = ["MqttClient", "MqttMessage", "MqttOptions", "MqttStatus", "Will"]

log = logging.getLogger("edgeagent")

#: A connection that held for so long was a good one, in seconds: the pause after it is short again.
GOOD_SECONDS = 30.0
#: How long leaving may take: the broker is told that we go, in seconds.
LEAVE_SECONDS = 2.0
#: So many messages of QoS 1 may be with us and not acknowledged; what comes beyond is not taken, and the broker sends it again later.
#: Brokers mostly hold back themselves after 10 to 100.
MAX_UNACKED = 1000
#: paho-mqtt's name for "it is not connected, and keeps the message" (MQTTErrorCode).
_KEPT = (0, 4)

OnMessage = Callable[[MqttMessage], None]


class MqttClient:
    """on_message: gets each message, on the event loop; it must not take long. on_change: called when :meth:`status` says something new of
    the connection."""

    def __init__(self, options: MqttOptions, *, on_message: OnMessage, on_change: Callable[[], None] = lambda: None) -> None:
        self.options, self._on_message, self._on_change = options, on_message, on_change
        self._what = f"reach {options.name} at {options.where}"
        self._filters: dict[str, int] = {}
        self._asked: dict[int, list[str]] = {}
        self._paho: Paho | None = None
        self._tasks = Tasks()
        self._ended, self._hurry, self._quiet = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._connected, self._since = False, time.time()
        self._let_in_at: float | None = None
        self._problem: EdgeError | None = None
        self._told: tuple[bool, str] = (False, "")
        self._waiting: dict[int, int] = {}
        self._acked_at = 0.0
        self._unacked: set[int] = set()
        self._connection = self._refused = 0
        self._missed = False
        self._received = self._oversized = self._sent = self._dropped = 0

    def start(self) -> None:
        """Connect, and stay connected until :meth:`close`."""
        from edgeagent.bridge.mqttpaho import Paho  # only who has a broker pays for it

        self._paho = paho = Paho(self.options)
        paho.on_connect, paho.on_disconnect = self._answered, self._disconnected
        paho.on_message, paho.on_publish, paho.on_subscribe = self._came, self._published, self._subscribed
        paho.on_socket_close = self._closing
        self._tasks.start(f"MQTT {self.options.where}", self._keep())

    async def close(self) -> None:
        """Say that we go, if the broker hears it within a moment, and end. Safe to call twice; what waits is lost."""
        if self._paho is not None and self._connected:
            if self.options.will:
                self._send(self.options.will.topic, self.options.will.gone, 1, self.options.will.retain)
            self._quiet.clear()
            if self._waiting:
                waiting = asyncio.ensure_future(self._quiet.wait())
                await asyncio.wait({waiting}, timeout=LEAVE_SECONDS)
                waiting.cancel()
            self._paho.leave()
        await self._tasks.close()
        if self._paho is not None:
            self._paho.drop()
            self._paho = None

    def subscribe(self, filters: Mapping[str, int]) -> None:
        """Hear what is published there (filter -> QoS, 0 or 1) from now on, and after each connect anew."""
        self._filters.update(filters)
        if self._connected:
            self._ask(dict(filters))

    def unsubscribe(self, filters: list[str]) -> None:
        """No longer; the broker forgets it when it hears it, which is not repeated."""
        for each in filters:
            self._filters.pop(each, None)
        if self._paho is not None and self._connected and filters:
            self._paho.unsubscribe(filters)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> bool:
        """Whether it is on its way; with QoS 1 it is sent until the broker has acknowledged it. False: it was dropped, and counted. It
        never waits. Without a connection a message of QoS 0 is dropped, and one of QoS 1 waits."""
        taken = self._paho is not None and self._has_room(qos) and self._is_sendable(topic, payload)
        if not taken or not self._send(topic, payload, qos, retain):
            self._dropped += 1
            return False
        return True

    def status(self) -> MqttStatus:
        """As it is now."""
        return MqttStatus(
            connected=self._connected,
            since=self._since,
            problem=self._problem,
            received=self._received,
            oversized=self._oversized,
            sent=self._sent,
            waiting=len(self._waiting),
            dropped=self._dropped,
        )

    # ---- staying connected ----

    async def _keep(self) -> None:
        pauses = Backoff(*self.options.retry_seconds, jitter=0.5, good_seconds=GOOD_SECONDS)
        while True:
            began = time.monotonic()
            was_let_in = await self._once()
            pause = pauses.next(time.monotonic() - began if was_let_in else 0.0)
            if isinstance(self._problem, Refused):
                pause += self.options.refused_seconds
            await woken(self._hurry, pause)

    async def _once(self) -> bool:
        """One connection, from the dial to its end: whether we had been let in."""
        assert self._paho is not None
        self._let_in_at, self._connection = None, self._connection + 1
        self._ended.clear()
        try:
            self._paho.username_pw_set(self.options.user or None, password_of(self.options) or None)
            self._paho.begin(await dialled(self.options, self._what))
            await self._watch(self._paho)
        except EdgeError as error:
            self._fail(error)
        except (OSError, ValueError) as error:  # the latter of paho-mqtt, such as for a password that is too long
            self._fail(mqttproblems.not_dialled(self._what, self.options.host, error))
        finally:
            self._paho.drop()
            self._is_over()
        return self._let_in_at is not None

    async def _watch(self, paho: Paho) -> None:
        """Until it ends."""
        began = self._acked_at = time.monotonic()
        tick = min(5.0, self.options.keepalive_seconds / 4, self.options.connect_seconds / 4, self.options.ack_seconds / 4)
        while not await woken(self._ended, tick):
            now = time.monotonic()
            if self._let_in_at is None and now - began > self.options.connect_seconds:
                self._fail(Unreachable(self._what, "it takes the connection, but does not answer", "is the broker stuck?"))
                return
            if self._waiting and now - self._acked_at > self.options.ack_seconds:
                self._fail(Failed(self._what, "it acknowledges nothing that it is sent", "the broker's log may say why"))
                return
            paho.tick()

    def _is_over(self) -> None:
        lost = [mid for mid, qos in self._waiting.items() if qos == 0]
        for mid in lost:
            del self._waiting[mid]
        self._dropped += len(lost)
        self._unacked.clear()
        self._refused, self._missed = 0, False
        self._asked.clear()
        self._tell()

    def _fail(self, problem: EdgeError) -> None:
        self._problem = problem
        self._tell()

    def _tell(self) -> None:
        now = (self._connected, str(self._problem or ""))
        if now != self._told:
            self._told = now
            if self._problem is not None:
                log.warning("%s", self._problem)
            self._on_change()

    # ---- what paho-mqtt says ----

    def _answered(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._fail(mqttproblems.refused(self._what, reason.value, self.options.client_id))
            return
        self._let_in_at, self._acked_at = time.monotonic(), time.monotonic()
        self._connected, self._since, self._problem = True, time.time(), None
        self._ask(self._filters)
        will = self.options.will
        if will is not None and will.here is not None:
            self._send(will.topic, will.here, 1, will.retain)
        self._tell()

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if isinstance(self._problem, Refused) and self._let_in_at is None:
            return  # it has said why
        if str(reason) != "Normal disconnection":
            held = None if self._let_in_at is None else time.monotonic() - self._let_in_at
            self._problem = mqttproblems.lost(self._what, held, str(reason))

    def _closing(self, client: Any, userdata: Any, closing: Any) -> None:
        assert self._paho is not None
        self._paho._closing(client, userdata, closing)
        if self._connected:
            self._connected, self._since = False, time.time()
        self._ended.set()
        self._quiet.set()

    def _ask(self, filters: Mapping[str, int]) -> None:
        if self._paho is not None and filters:
            _, mid = self._paho.subscribe(list(filters.items()))
            if mid is not None:
                self._asked[mid] = list(filters)

    def _subscribed(self, client: Any, userdata: Any, mid: int, reasons: list[Any], properties: Any) -> None:
        names = self._asked.pop(mid, [])
        if failed := [name for name, reason in zip(names, reasons, strict=False) if reason.is_failure]:
            self._fail(mqttproblems.not_subscribed(self._what, failed))

    def _came(self, client: Any, userdata: Any, message: Any) -> None:
        self._received += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = None
        assert self._paho is not None
        if self._paho.oversized or topic is None or len(message.payload) > self.options.max_message_bytes:
            self._oversized += 1
            self._paho.ack(message.mid, message.qos)  # it would come again for ever
            return
        if message.qos and len(self._unacked) >= MAX_UNACKED:
            self._dropped += 1
            self._missed = True
            return
        found = MqttMessage(topic, bytes(message.payload), message.qos, message.retain)
        if message.qos:
            self._unacked.add(message.mid)
            found = dataclasses.replace(found, acknowledge=partial(self._acknowledge, self._connection, message.mid))
        self._on_message(found)

    def _acknowledge(self, connection: int, mid: int) -> None:
        """For a message that came on that connection; another one may have used its number since."""
        if self._paho is not None and connection == self._connection and mid in self._unacked:
            self._unacked.discard(mid)
            self._paho.ack(mid, 1)
            self._begin_anew_if_due()

    def miss(self, message: MqttMessage) -> None:
        """There is no room for it now. One of QoS 1 comes again: on a new connection, when all others are acknowledged, because brokers send
        no more while too many are not."""
        if message.qos:
            self._missed, self._refused = True, self._refused + 1
            self._begin_anew_if_due()

    def _begin_anew_if_due(self) -> None:
        if self._missed and len(self._unacked) <= self._refused and self._paho is not None:
            self._missed = False
            asyncio.get_running_loop().call_soon(self._paho.drop)  # not within a call of paho-mqtt's

    def _published(self, client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        self._acked_at = time.monotonic()
        self._sent += self._waiting.pop(mid, None) is not None
        if not self._waiting:
            self._quiet.set()

    # ---- sending ----

    def _has_room(self, qos: int) -> bool:
        return len(self._waiting) < self.options.queue and (qos > 0 or self._connected)

    def _is_sendable(self, topic: str, payload: bytes) -> bool:
        """No broker takes the others (MQTT 3.1.1, 4.7)."""
        named = 0 < len(topic.encode(errors="surrogatepass")) <= 65535 and not set(topic) & set("+#\0")
        return named and len(payload) <= self.options.max_message_bytes

    def _send(self, topic: str, payload: bytes, qos: int, retain: bool) -> bool:
        assert self._paho is not None
        if not self._waiting:
            self._acked_at = time.monotonic()
        info = self._paho.publish(topic, payload, qos, retain)
        if info.rc not in _KEPT:
            return False
        self._waiting[info.mid] = qos
        return True
