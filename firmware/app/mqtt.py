"""An MQTT 3.1.1 client for asyncio, QoS 0 and 1: one connection, and what may go wrong with it."""

import asyncio
import gc

import packets
from packets import Malformed
from taskgroup import first_to_end
from ticks import ticks_diff, ticks_ms

#: Messages with QoS 1 that wait for their acknowledgement at once.
MAX_WAITING = 16
#: The longest message that is read and thrown away, in bytes; one that says it is longer ends the connection.
MAX_SKIPPED = 262144
_PIECE = 256
_LOOK_SECONDS = 0.25


class Ended(Exception):
    """The connection ended; the text says why."""


class Refused(Ended):
    """The broker does not want us as we are."""


#: What ends a connection. ValueError: a certificate. MemoryError: no room for TLS, for now.
ENDS = (Ended, Malformed, OSError, EOFError, ValueError, MemoryError, asyncio.TimeoutError)


class Client:
    """host: a name or an address; resolve(host) gives the address. tls: an SSLContext; server_name: what the certificate has to
    be for, if it is not the host. will: (topic, payload), retained.

    topics: subscribed with each connection, with QoS qos. on_message(topic, payload, retained) is called before a message is acknowledged. keepalive, timeout,
    ack_seconds: seconds. max_packet: bytes of the longest that is taken; a message with QoS 0 beyond that is dropped and counted in too_long.
    beat() is called while it lives: at least every 250 ms of a connection, and at each step towards one.
    """

    def __init__(
        self,
        client_id,
        host,
        port=1883,
        *,
        user=None,
        password=None,
        tls=None,
        server_name=None,
        will=None,
        topics=(),
        qos=0,
        on_message=None,
        resolve=None,
        keepalive=30,
        timeout=10,
        ack_seconds=5,
        max_packet=4096,
        beat=None,
    ):
        self.host, self.port, self.server_name = host, port, server_name or host
        self._connect = packets.connect(client_id, keepalive, user, password, will)
        self._tls, self._topics, self._qos, self._on_message, self._resolve = tls, topics, qos, on_message, resolve
        self._keepalive, self._timeout, self._ack_seconds, self._max_packet = keepalive, timeout, ack_seconds, max_packet
        self.beat = beat or (lambda: None)
        self._up, self._lock = asyncio.Event(), asyncio.Lock()
        self._pid, self._waiting = 0, {}
        self._reader = self._writer = self._error = None
        self._heard = ticks_ms()
        self.too_long = self.sent = self.received = 0

    @property
    def is_up(self):
        return self._up.is_set()

    async def connection(self, serve):
        """Connect, and run ``serve()``; when that ends, say goodbye. Raises one of ENDS when the connection ends before."""
        gc.collect()  # TLS wants 20 KB in one piece, and sockets that were given up are closed
        try:
            await self._open()
            await asyncio.wait_for(self._introduce(), self._timeout)
            self._up.set()
            await first_to_end(self._read(), self._watch(), self._ping(), serve())
            await asyncio.wait_for(self._send(packets.DISCONNECT), self._timeout)
        finally:
            self._up.clear()
            for acked in self._waiting.values():
                acked.set()
            await self._close()

    async def publish(self, topic, payload, qos=0, retain=False):
        """QoS 0: return when it is written. QoS 1: return when it is acknowledged, on whichever connection. Raises OSError or Ended when
        a message with QoS 0 can't be written, or too many wait."""
        if not qos:
            if not self.is_up:
                raise Ended("not connected")
            await self._send(packets.publish(topic, payload, 0, retain))
            self.sent += 1
            return
        if len(self._waiting) >= MAX_WAITING:
            raise Ended("%d messages wait for their acknowledgement" % MAX_WAITING)
        pid = self._next_pid()
        acked = self._waiting[pid] = asyncio.Event()
        try:
            await self._until_acked(pid, acked, topic, payload, retain)
        finally:
            self._waiting.pop(pid, None)

    async def _until_acked(self, pid, acked, topic, payload, retain):
        dup = False
        while pid in self._waiting:
            await self._up.wait()
            acked.clear()
            try:
                await self._send(packets.publish(topic, payload, pid, retain, dup))
                await asyncio.wait_for(acked.wait(), self._ack_seconds)
            except asyncio.TimeoutError:
                pass
            except (OSError, Ended):
                await asyncio.sleep(_LOOK_SECONDS)
            dup = True
        self.sent += 1

    def _next_pid(self):
        while True:
            self._pid = self._pid % 65535 + 1
            if self._pid not in self._waiting:
                return self._pid

    async def _open(self):
        self._error = None
        self.beat()
        address = await self._resolve(self.host) if self._resolve else self.host
        self.beat()
        tls = {"ssl": self._tls, "server_hostname": self.server_name} if self._tls else {}
        opening = asyncio.open_connection(address, self.port, **tls)
        self._reader, self._writer = await asyncio.wait_for(opening, self._timeout)
        self.beat()

    async def _close(self):
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            try:
                writer.close()
                await asyncio.wait_for(writer.wait_closed(), self._timeout)
            except Exception:  # it is gone already, in whichever way
                pass

    async def _introduce(self):
        self._lock = asyncio.Lock()  # who held it was cancelled
        await self._send(self._connect)
        self.beat()
        refusal = packets.connected(*await self._packet())
        if refusal:
            raise Refused(refusal)
        if self._topics:
            pid = self._next_pid()
            await self._send(packets.subscribe(pid, self._topics, self._qos))
            while not await self._is_subscribed(pid, *await self._packet()):
                self.beat()
        self._heard = ticks_ms()

    async def _is_subscribed(self, pid, first, body):
        """What is retained may come before the answer."""
        if first & 0xF0 == packets.PUBLISH:
            await self._take(first, body)
            return False
        denied = packets.subscribed(first, body, pid, self._topics)
        if denied:
            raise Refused("the broker does not let it subscribe to " + ", ".join(denied))
        return True

    async def _read(self):
        while True:
            first, body = await self._packet()
            self._heard = ticks_ms()
            kind = first & 0xF0
            if kind == packets.PUBLISH:
                await self._take(first, body)
            elif kind == packets.PUBACK:
                acked = self._waiting.pop(packets.acknowledged(first, body), None)
                if acked is not None:
                    acked.set()
            elif first != packets.PINGRESP or body:
                raise Malformed("a packet 0x%02x that no broker sends here" % first)

    async def _take(self, first, body):
        topic, payload, pid, retained = packets.published(first, body)
        self.received += 1
        if self._on_message is not None:
            self._on_message(topic, payload, retained)
        if pid:
            await self._send(packets.puback(pid))

    async def _packet(self):
        while True:
            first, length = await self._head()
            packets.check_head(first, length)
            if length <= self._max_packet:
                return first, await self._reader.readexactly(length) if length else b""
            await self._skip(first, length)

    async def _head(self):
        first, low = await self._reader.readexactly(2)
        length, shift = low & 0x7F, 7
        while low & 0x80:
            if shift > 21:
                raise Malformed("a packet with no length")
            low = (await self._reader.readexactly(1))[0]
            length |= (low & 0x7F) << shift
            shift += 7
        return first, length

    async def _skip(self, first, length):
        """A message that is too long would come again with each connection: it is dropped, and the connection stays."""
        self.too_long += 1
        if first & 0xF6 != packets.PUBLISH or length > MAX_SKIPPED:
            raise Malformed("a packet of %d bytes, and %d are taken at most" % (length, self._max_packet))
        while length:
            length -= len(await self._reader.readexactly(min(length, _PIECE)))

    async def _watch(self):
        """It does not write: where the peer reads nothing, who writes waits."""
        limit = self._keepalive * 1500
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.beat()
            if self._error is not None:
                raise self._error
            if ticks_diff(ticks_ms(), self._heard) > limit:
                raise Ended("the broker said nothing for %d s" % (limit // 1000))

    async def _ping(self):
        """Also while we say something all the time: only an answer shows that somebody is there."""
        while True:
            await asyncio.sleep(self._keepalive / 2)
            await self._send(packets.PINGREQ)

    async def _send(self, data):
        async with self._lock:
            writer = self._writer
            if writer is None:
                raise Ended("not connected")
            try:
                writer.write(data)
                await writer.drain()
            except OSError as error:
                self._error = error
                raise
