import asyncio
import json

import mqttlink
import packets
import wifi as wifi_module
from clock import Clock
from radio import Network
from scripted import Broker, stopped, until
from wifi import Wifi

wifi_module._LOOK_SECONDS = 0.01


class Session:
    """It says what it is given, and remembers what it heard and when it was told that there is a connection."""

    def __init__(self):
        self.to_say, self.heard, self.told = [], [], []

    def hear(self, message, now):
        self.heard.append(message)
        if message.get("t") == "breaks":
            raise KeyError("s")

    def due(self, now):
        due, self.to_say = self.to_say, []
        return due

    def connected(self):
        self.told.append(True)

    def disconnected(self):
        self.told.append(False)


class Linked:
    """A link with short pauses: ``async with Linked(port) as linked``."""

    def __init__(self, port, wifi=None, ntp=None, **mqtt):
        self.printed, self.session, self.beats = [], Session(), 0
        settings = {"id": "oven", "mqtt": dict(host="127.0.0.1", port=port, **mqtt), "ntp": ntp}
        self.link = mqttlink.MqttLink(settings, Clock(), wifi, self.printed.append)
        self.link._pause = self._short

    async def _short(self, seconds):
        self.link._beats()
        await asyncio.sleep(0.02)

    def beat(self, name):
        assert name == "link"
        self.beats += 1

    async def __aenter__(self):
        self._task = asyncio.create_task(self.link.run(self.session, self))
        return self

    async def __aexit__(self, *_):
        await stopped(self._task)

    def has_printed(self, words):
        return any(words in each for each in self.printed)


async def welcome(peer):
    await peer.welcome()
    await peer.hold()


def said(broker):
    """(topic, payload, retained) of what was published on the newest connection."""
    found = [packets.published(*each) for each in broker.peers[-1].heard if each[0] & 0xF0 == packets.PUBLISH]
    return [(topic, payload, retained) for topic, payload, _, retained in found]


async def test_it_says_who_it_is_and_what_is_due():
    async with Broker(welcome) as broker, Linked(broker.port, user="oven", password="secret") as linked:
        linked.session.to_say = [{"t": "hello", "id": "oven"}, {"t": "r", "s": 1}]
        await until(lambda: linked.session.told and len(said(broker)) >= 5)
        connect = broker.peers[0].heard[0][1]
        assert b"\x00\x04oven\x00\x0emcu/oven/state\x00\x07offline\x00\x04oven\x00\x06secret" in connect
        assert b"mcu/oven/in\x00" in broker.peers[0].heard[1][1]
        found = said(broker)
        assert found[0] == ("mcu/oven/state", b"online", True)
        assert [json.loads(payload) for topic, payload, _ in found if topic == "mcu/oven/out"] == [
            {"t": "hello", "id": "oven"},
            {"t": "r", "s": 1},
        ]
        assert linked.has_printed("plain text") and not linked.has_printed("secret")
        assert any(topic == "mcu/oven/log" and b"connected" in payload for topic, payload, _ in found)
        assert linked.link.is_up and linked.link.problem == ""


async def test_whatever_is_sent_to_it_the_connection_stays():
    async def serve(peer):
        await peer.welcome()
        for each in (
            b"",
            b"{",
            b"[]",
            b"7",
            b"null",
            b"\xff\xfe",
            b"[" * 4000,
            b'{"t":"breaks"}',
            b'{"a":' * 600,
            b'{"t":' + b"9" * 3000 + b"}",
        ):
            await peer.say(packets.publish("mcu/oven/in", each))
        await peer.say(packets.publish("mcu/oven/in", b'{"t":"cmd","id":"1","a":"reset"}', retain=True))
        await peer.say(packets.publish("mcu/oven/in", b'{"t":"hi"}'))
        await peer.hold()

    async with Broker(serve) as broker, Linked(broker.port) as linked:
        await until(lambda: {"t": "hi"} in linked.session.heard)
        assert len(broker.peers) == 1 and linked.link.malformed >= 8
        assert not any(each.get("t") == "cmd" for each in linked.session.heard), "what is retained is no order of now"
        assert linked.has_printed("KeyError")


async def test_it_connects_again_and_the_session_is_told():
    async def serve(peer):
        await peer.welcome()
        if len(broker.peers) < 3:
            await peer.say(b"\x00\x00")
        await peer.hold()

    broker = Broker(serve)
    async with broker, Linked(broker.port) as linked:
        await until(lambda: linked.session.told == [True, False, True, False, True])
        assert linked.link.connections == 3 and linked.has_printed("the connection to the broker ended")


async def test_who_is_refused_says_it_once():
    async def serve(peer):
        await peer.packet()
        await peer.say(b"\x20\x02\x00\x05")

    async with Broker(serve) as broker, Linked(broker.port) as linked:
        await until(lambda: len(broker.peers) > 3)
        assert len(linked.printed) == 1 and "wrong user or password" in linked.printed[0]
        assert linked.link.problem == linked.printed[0] and linked.session.told == []


async def test_what_it_has_to_say_meanwhile_is_bounded_and_counted():
    async def serve(peer):
        while not is_open[0]:
            await asyncio.sleep(0.01)
        await welcome(peer)

    is_open = [False]
    async with Broker(serve) as broker, Linked(broker.port) as linked:
        for number in range(30):
            linked.link.say("line %d %s" % (number, "x" * 500))
        assert len(linked.link._lines) == mqttlink.MAX_LINES and linked.link.dropped == 10
        is_open[0] = True
        await until(
            lambda: broker.peers and len([each for each in said(broker) if each[0] == "mcu/oven/log"]) == mqttlink.MAX_LINES
        )
        assert max(len(payload) for _, payload, _ in said(broker)) == mqttlink.MAX_LINE


async def test_without_wifi_it_waits_and_says_why_and_beats():
    network = Network(-3)
    said_wifi = []
    wifi = Wifi({"ssid": "lab", "password": "x"}, "oven", said_wifi.append, None, network)
    async with Broker(welcome) as broker, Linked(broker.port, wifi) as linked:
        await until(lambda: "wrong password" in linked.link.problem)
        before = linked.beats
        await until(lambda: linked.beats > before + 3)
        assert broker.peers == []
        wifi._pause = linked._short
        network.state = 3
        await until(lambda: linked.link.is_up and linked.link.problem == "")
        network.state = -2
        await until(lambda: linked.session.told == [True, False])
        await until(lambda: linked.has_printed("the Wi-Fi is gone"))
        network.state = 3
        await until(lambda: linked.session.told == [True, False, True])
        wifi.looked -= mqttlink.WIFI_MS + 10
        before = linked.beats
        linked.link._beats()
        assert linked.beats == before, "nobody vouches for one whose Wi-Fi hangs"


async def test_a_wifi_through_which_no_broker_is_reached_is_connected_to_anew():
    async def serve(peer):
        await peer.packet()

    network = Network()
    wifi = Wifi({"ssid": "lab"}, "oven", print_nothing, None, network)
    async with Broker(serve) as broker, Linked(broker.port, wifi) as linked:
        wifi._pause = linked._short
        await until(lambda: network.log.count("connect lab None") == 2)
        assert len(broker.peers) >= mqttlink.DOUBT_AFTER


def print_nothing(text):
    pass


async def test_no_authority_no_connection():
    async with Broker(welcome) as broker, Linked(broker.port, tls=True, ca="missing.der", password="secret") as linked:
        await until(lambda: linked.printed)
        assert "cannot read the authority's certificate missing.der" in linked.printed[0]
        assert broker.peers == [] and not linked.link.is_up


async def test_a_board_whose_memory_stays_short_starts_anew():
    resets, errors = [], [MemoryError(), OSError(104)] + [MemoryError()] * mqttlink.SHORT_OF_MEMORY

    class Short:
        host = server_name = "pi"
        is_up = False

        async def connection(self, serve):
            if errors:
                raise errors.pop(0)
            await asyncio.sleep(60)

    async with Linked(1) as linked:
        linked.link._client, linked.link._reset = Short(), lambda: resets.append(len(errors))
        await until(lambda: resets)
        assert resets == [0] and linked.has_printed("not enough memory in one piece")
