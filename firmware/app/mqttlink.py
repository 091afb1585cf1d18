"""The link by MQTT: the protocol's messages on ``mcu/<id>/out`` and ``mcu/<id>/in``, what it has to say on ``mcu/<id>/log``."""

import asyncio
import errno
import json

import certificates
import names
from backoff import Backoff
from mqtt import ENDS, Client, Ended
from taskgroup import first_to_end
from ticks import ticks_diff, ticks_ms

#: Lines that wait while there is no connection; the oldest is dropped.
MAX_LINES, MAX_LINE = 20, 400
#: The Wi-Fi is doubted after so many connections in a row that never were.
DOUBT_AFTER = 5
#: The board is started anew when memory was short for so many connections in a row: what lies scattered in it comes together by nothing else.
SHORT_OF_MEMORY = 10
#: A Wi-Fi that does not look after itself for so long hangs, in milliseconds.
WIFI_MS = 60000
#: How often it is looked for what is due, in seconds: more often while the agent speaks, as an update is hundreds of questions in a row.
_LOOK_SECONDS, _BUSY_SECONDS = 0.05, 0.01
_BUSY_MS = 500
_GOOD_MS = 30000
_CLOSED = "the broker ended it"


class MqttLink:
    """settings: of the board: id, mqtt; ntp, if there is a time server to ask. clock: a clock.Clock. wifi: a wifi.Wifi; None: the network is there by
    itself. reset(): start the board anew. Its task has to be allowed 30 s between two beats: connecting has parts that wait that long.

    dropped: lines that nobody heard. malformed: messages that made no sense. problem: why there is no connection; empty: there is one.
    """

    name = "link"

    def __init__(self, settings, clock, wifi=None, say=print, reset=None):
        self._id, self._settings, self._mqtt = settings["id"], settings, settings["mqtt"]
        self._clock, self._wifi, self._print, self._reset = clock, wifi, say, reset
        self._lines, self._told, self._failures, self._shortages = [], "", 0, 0
        self._session, self._client = None, None
        self._beat = lambda: None
        self._was_up = self._was_good = False
        self._heard_at = ticks_ms()
        self.dropped = self.malformed = self.connections = 0
        self.problem = ""

    @property
    def is_up(self):
        return self._client is not None and self._client.is_up

    @property
    def too_long(self):
        """Messages that were dropped for their length."""
        return self._client.too_long if self._client is not None else 0

    def say(self, text):
        """A line of the log: printed, and published when there is a connection."""
        self._print(text)
        if len(self._lines) >= MAX_LINES:
            self._lines.pop(0)
            self.dropped += 1
        self._lines.append(text[:MAX_LINE])

    async def run(self, session, keeper):
        """Carry for ever. keeper.beat(name) is called while all of it lives."""
        self._session = session
        self._beat = lambda: keeper.beat(self.name)
        if self._wifi is None:
            await self._connections()
        else:
            await first_to_end(self._wifi.run(), self._connections())

    def _beats(self):
        self._clock.unix_ms()  # it has to be asked before milliseconds wrap
        if self._wifi is None or ticks_diff(ticks_ms(), self._wifi.looked) < WIFI_MS:
            self._beat()

    async def _connections(self):
        pauses = Backoff(1, 60)
        while True:
            while self._wifi is not None and not self._wifi.is_up:
                self.problem = self._wifi.problem
                await self._pause(_LOOK_SECONDS)
            was_good = await self._connection()
            await self._pause(pauses.next(60 if was_good else 0))

    async def _pause(self, seconds):
        since = ticks_ms()
        while ticks_diff(ticks_ms(), since) < seconds * 1000:
            self._beats()
            await asyncio.sleep(min(seconds, 0.25))

    async def _connection(self):
        """One, until it ends. Returns whether it was good for a while."""
        self._was_up = self._was_good = False
        try:
            await self._ask_time()
            if self._client is None:
                self._client = self._made()
            await self._client.connection(self._serve)
        except ENDS as error:
            self._ended(error)
        return self._was_good

    def _made(self):
        mqtt, topic = self._mqtt, "mcu/" + self._id
        is_tls = mqtt.get("tls", "ca" in mqtt)
        if mqtt.get("password") and not is_tls:
            self.say("the password crosses the network in plain text: set tls and ca in the settings of mqtt")
        return Client(
            self._id,
            mqtt["host"],
            mqtt.get("port", 8883 if is_tls else 1883),
            user=mqtt.get("user"),
            password=mqtt.get("password"),
            server_name=mqtt.get("server_name"),
            tls=certificates.context(mqtt.get("ca", "/ca.der")) if is_tls else None,
            will=(topic + "/state", "offline"),
            topics=(topic + "/in",),
            on_message=self._heard,
            resolve=self._address,
            keepalive=mqtt.get("keepalive_seconds", 30),
            beat=self._beats,
        )

    async def _address(self, host):
        return await names.resolve(host, self._wifi.dns if self._wifi is not None else "")

    async def _ask_time(self):
        """A certificate of somebody else's authority needs the time; one of the agent's own begins before a board's clock does."""
        server = self._settings.get("ntp")
        if not server or self._clock.is_known:
            return
        try:
            if not await self._clock.ask(await self._address(server)):
                self.say("no time from %s: it does not answer" % server)
        except OSError as error:
            self.say("no time from %s: %s" % (server, error))
        self._beats()

    async def _serve(self):
        client, session, topic = self._client, self._session, "mcu/" + self._id
        since = ticks_ms()
        self._was_up, self._failures, self.problem = True, 0, ""
        self.connections += 1
        self._tell("connected to the broker at %s" % client.host)
        await client.publish(topic + "/state", "online", retain=True)
        session.connected()
        try:
            while True:
                if self._wifi is not None and not self._wifi.is_up:
                    raise Ended("the Wi-Fi is gone")
                for message in session.due(ticks_ms()):
                    await client.publish(topic + "/out", json.dumps(message))
                while self._lines:
                    await client.publish(topic + "/log", self._lines.pop(0))
                self._was_good = self._was_good or ticks_diff(ticks_ms(), since) > _GOOD_MS
                is_busy = ticks_diff(ticks_ms(), self._heard_at) < _BUSY_MS
                await asyncio.sleep(_BUSY_SECONDS if is_busy else _LOOK_SECONDS)
        finally:
            session.disconnected()

    def _heard(self, topic, payload, retained):
        self._heard_at = ticks_ms()
        if retained:  # an order is for who is there when it is given
            return
        try:
            message = json.loads(payload)
            if not isinstance(message, dict):
                raise ValueError("no object")
        except (ValueError, RuntimeError, MemoryError):
            self.malformed += 1
            return
        try:
            self._session.hear(message, ticks_ms())
        except Exception as error:  # whatever somebody sends, it is no reason to end the connection
            self.malformed += 1
            self.say("cannot take what the agent says: %s" % repr(error))

    def _ended(self, error):
        why, is_tls = problem(error, self._client), self._mqtt.get("tls", "ca" in self._mqtt)
        if self._was_up:
            self.problem = "the connection to the broker ended: " + why
        else:
            self._failures += 1
            hint = (": maybe it has no TLS there" if is_tls else ": maybe it wants TLS there") if why == _CLOSED else ""
            self.problem = "cannot reach the broker at %s:%s: %s%s" % (self._mqtt["host"], self._mqtt.get("port", ""), why, hint)
        self._tell(self.problem)
        self._shortages = self._shortages + 1 if isinstance(error, MemoryError) else 0
        if self._shortages >= SHORT_OF_MEMORY and self._reset is not None:
            self._reset()
        if self._wifi is not None and self._failures and self._failures % DOUBT_AFTER == 0:
            self._wifi.doubt()

    def _tell(self, text):
        if text != self._told:
            self._told = text
            self.say(text)


def problem(error, client=None):
    """Why a connection ended, in words."""
    of_certificate = certificates.problem(error, client.server_name if client is not None else "")
    if of_certificate:
        return of_certificate
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, MemoryError):
        return "not enough memory in one piece"
    if isinstance(error, EOFError):
        return _CLOSED
    code = error.args[0] if isinstance(error, OSError) and error.args else None
    words = {
        errno.ECONNREFUSED: "nothing listens there",
        errno.ECONNRESET: _CLOSED,
        errno.EHOSTUNREACH: "there is no way to it",
    }
    return words.get(code) or str(error) or repr(error)
