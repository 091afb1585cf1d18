"""paho-mqtt's client on the event loop instead of a thread, over a socket that is given to it, and bounded in what it takes in.

Its thread would block on a name server or a handshake that nobody can end, and would tell us that a connection failed, but not why.
paho-mqtt is loaded with this module: import it when there is a broker. Of ssl it asks only whether an error is one of it
(paho-mqtt 2.1), so it loads no OpenSSL.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

from paho.mqtt import client as paho_client
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edgeagent.bridge.mqttshapes import MqttOptions

if TYPE_CHECKING:
    import ssl
else:
    from edgeagent.bridge.latessl import ssl

__all__ = ["Paho"]

log = logging.getLogger(__name__)

vars(paho_client).update(ssl=ssl)

#: How much is read at once, in bytes: what a broker announces must not decide how much memory is asked for.
READ_BYTES = 64 << 10
#: What a topic and the rest of the header may take of a packet, in bytes (MQTT 3.1.1, 1.5.3).
_HEADER_BYTES = (64 << 10) + 16


class Paho(Client):
    """paho-mqtt's client for MQTT 3.1.1. Its owner sets the callbacks, calls :meth:`begin` with a socket and :meth:`tick` now and then.

    ``oversized`` is true while on_message is called for a message that is too large: its payload is not all there.
    """

    def __init__(self, options: MqttOptions) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=False,
            reconnect_on_failure=False,  # when and how is ours to say
            manual_ack=True,
        )
        self._loop_of_ours = asyncio.get_running_loop()
        self._limit = options.max_message_bytes + _HEADER_BYTES
        self._given: socket.socket | None = None
        self.oversized = False
        self.max_queued_messages_set(options.queue)
        self.connect_async(options.host, options.port, options.keepalive_seconds)
        if options.will:
            self.will_set(options.will.topic, options.will.gone, qos=1, retain=options.will.retain)
        self.on_socket_open, self.on_socket_close = self._opened, self._closing
        self.on_socket_register_write, self.on_socket_unregister_write = self._wants_to_write, self._has_written

    def begin(self, given: socket.socket) -> None:
        """Ask to be let in, over this socket. Raises OSError."""
        self._given = given
        try:
            self.reconnect()
        finally:
            if self._given is not None:
                self._given.close()
                self._given = None

    def tick(self) -> None:
        """Look after the keepalive."""
        with self._broken_ends():
            self.loop_misc()

    def leave(self) -> None:
        """Tell the broker that we go, so that it does not say our will, as far as that goes without waiting."""
        with self._broken_ends():
            self.disconnect()
            self.loop_write()

    def drop(self) -> None:
        """End the connection without a word; the broker says our will."""
        self._sock_close()

    def _create_socket(self) -> Any:
        given, self._given = self._given, None
        if given is None:
            raise ConnectionError("there is no connection to use")
        return given

    def _opened(self, client: Any, userdata: Any, opened: Any) -> None:
        self._loop_of_ours.add_reader(opened, self._readable)

    def _closing(self, client: Any, userdata: Any, closing: Any) -> None:
        self._loop_of_ours.remove_reader(closing)

    def _wants_to_write(self, client: Any, userdata: Any, wanting: Any) -> None:
        self._loop_of_ours.add_writer(wanting, self._writable)

    def _has_written(self, client: Any, userdata: Any, done: Any) -> None:
        self._loop_of_ours.remove_writer(done)

    def _writable(self) -> None:
        with self._broken_ends():
            self.loop_write()

    def _readable(self) -> None:
        with self._broken_ends():
            self.loop_read()
        current = self.socket()
        if isinstance(current, ssl.SSLSocket) and current.pending():  # read from the network already, so nothing else says so
            self._loop_of_ours.call_soon(self._readable)

    @contextlib.contextmanager
    def _broken_ends(self) -> Any:
        """A packet that paho-mqtt can't even take apart ends the connection, and nothing else."""
        try:
            yield
        except Exception:  # whatever a stranger's bytes may cause: struct.error, IndexError, UnicodeDecodeError
            log.debug("what came from the broker at %s", self.host, exc_info=True)
            self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)

    def _sock_recv(self, bufsize: int) -> bytes:
        return bytes(super()._sock_recv(min(bufsize, READ_BYTES)))

    def _packet_read(self) -> MQTTErrorCode:
        done = super()._packet_read()
        if self._in_packet["remaining_length"] > self._limit:
            del self._in_packet["packet"][_HEADER_BYTES:]
        return done

    def _packet_handle(self) -> MQTTErrorCode:
        self.oversized = self._in_packet["remaining_length"] > self._limit
        return super()._packet_handle()
