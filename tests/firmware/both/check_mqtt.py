import asyncio

import mqtt
import packets
from scripted import Broker, stopped, until


class Ours:
    """A client of a scripted broker, for one connection; why: what ended it."""

    def __init__(self, broker, **options):
        self.heard, self.why, self.beats = [], None, 0
        defaults = {"topics": ("mcu/oven/in",), "on_message": self._hear, "keepalive": 20, "timeout": 5, "beat": self._beat}
        defaults.update(options)
        self.client = mqtt.Client("oven", "127.0.0.1", broker.port, **defaults)

    def _hear(self, topic, payload, retained):
        self.heard.append((topic, payload, retained))

    def _beat(self):
        self.beats += 1

    async def _serve(self):
        while True:
            await asyncio.sleep(1)

    async def _once(self):
        try:
            await self.client.connection(self._serve)
        except mqtt.ENDS as error:
            self.why = error

    async def __aenter__(self):
        self._task = asyncio.create_task(self._once())
        return self

    async def __aexit__(self, *_):
        await stopped(self._task)

    async def ended(self):
        await until(lambda: self.why is not None)
        assert not self.client.is_up
        return self.why

    async def up(self):
        await until(lambda: self.client.is_up)
        return self.client


async def ends(serve, **options):
    """Why a connection ends with a broker that does this."""
    async with Broker(serve) as broker, Ours(broker, **options) as ours:
        return await ours.ended(), ours


async def after_welcome(data, piece=0, **options):
    async def serve(peer):
        await peer.welcome()
        await peer.say(data, piece)
        await peer.hold()

    return await ends(serve, **options)


async def test_packets_may_come_in_pieces_or_many_at_once():
    for piece in (1, 3, 0):

        async def serve(peer, piece=piece):
            await peer.welcome(piece)
            data = b"".join(packets.publish("mcu/oven/in", b"x" * size, size) for size in (1, 50, 300))
            await peer.say(data + b"\xd0\x00" + packets.publish("mcu/oven/in", b"", 0, True), piece)
            await peer.hold()

        async with Broker(serve) as broker, Ours(broker) as ours:
            await until(lambda ours=ours: len(ours.heard) == 4)
            assert [len(payload) for _, payload, _ in ours.heard] == [1, 50, 300, 0] and ours.heard[3][2] is True
            await until(lambda broker=broker: len(broker.peers[0].heard) == 5)
            acks = [packets.acknowledged(*each) for each in broker.peers[0].heard[2:]]
            assert acks == [1, 50, 300], "those of QoS 1, after each was heard"


async def test_what_is_retained_may_come_before_the_subscription_is_answered():
    async def serve(peer):
        await peer.packet()
        await peer.say(b"\x20\x02\x00\x00")
        pid = (await peer.packet())[1][:2]
        await peer.say(packets.publish("mcu/oven/in", b"{}", 7) + packets.packet(packets.SUBACK, pid, b"\0"))
        await peer.hold()

    async with Broker(serve) as broker, Ours(broker) as ours:
        await ours.up()
        assert len(ours.heard) == 1
        await until(lambda: (packets.PUBACK, b"\0\7") in broker.peers[0].heard)


async def test_who_is_refused_is_told_why():
    for code, words in ((1, "3.1.1"), (2, "client id"), (3, "nobody"), (4, "password"), (5, "password"), (77, "77")):

        async def serve(peer, code=code):
            await peer.packet()
            await peer.say(bytes([0x20, 2, 0, code]))
            await peer.hold()

        why, _ = await ends(serve)
        assert isinstance(why, mqtt.Refused) and words in str(why), why


async def test_a_subscription_that_is_denied_is_named():
    async def serve(peer):
        await peer.packet()
        await peer.say(b"\x20\x02\x00\x00")
        await peer.say(packets.packet(packets.SUBACK, (await peer.packet())[1][:2], b"\x80"))
        await peer.hold()

    why, _ = await ends(serve)
    assert "subscribe to mcu/oven/in" in str(why)


async def test_packets_that_are_none_end_the_connection():
    for data in (
        b"\x30\xff\xff\xff\xff\xff",  # no length
        b"\x40\x01\x00",
        b"\x36\x05\x00\x01a\x00\x01",
        b"\x30\x02\x00\x09",
        b"\x20\x02\x00\x00",
        b"\xd0\x01\x00",
        b"\x00\x00",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        packets.publish("a", bytes(5000), 1),  # too long, and would come again
        b"\x30\xff\xff\xff\x7f",  # 256 MB
    ):
        why, ours = await after_welcome(data)
        assert isinstance(why, mqtt.Malformed), (data[:8], why)
        assert ours.heard == []


async def test_what_answers_is_no_broker():
    async def serve(peer):
        await peer.packet()
        await peer.say(b"SSH-2.0-OpenSSH_9.2\r\n")
        await peer.hold()

    why = (await ends(serve, timeout=20))[0]
    assert isinstance(why, mqtt.Malformed), "at once"


async def test_a_message_that_is_too_long_is_dropped_and_counted_and_the_connection_stays():
    async def serve(peer):
        await peer.welcome()
        await peer.say(packets.publish("mcu/oven/in", b"")[:1] + b"\xad\x8d\x06\x00\x0bmcu/oven/in")  # and 100,000 bytes
        for _ in range(100):
            await peer.say(bytes(1000))
        await peer.say(packets.publish("mcu/oven/in", b"short"))
        await peer.hold()

    async with Broker(serve) as broker, Ours(broker) as ours:
        await until(lambda: ours.heard)
        assert [payload for _, payload, _ in ours.heard] == [b"short"]
        assert ours.client.too_long == 1 and ours.client.is_up and ours.why is None


async def a_broker_that_says_nothing_is_left():
    async def mute(peer):
        await peer.nothing()

    why, _ = await ends(mute, timeout=0.3)
    assert isinstance(why, asyncio.TimeoutError)

    async def falls_silent(peer):
        await peer.welcome()
        await peer.nothing()

    why, ours = await ends(falls_silent, keepalive=1)
    assert "said nothing for 1 s" in str(why) and ours.beats > 4


async def half_a_packet_is_silence_too():
    async def serve(peer):
        await peer.welcome()
        await peer.say(b"\x30\xff\x01\x00\x01a")
        while (await peer.packet())[0] == 0xC0:
            await peer.say(b"a")

    assert "said nothing" in str((await ends(serve, keepalive=1))[0])


async def it_pings_and_stays_while_it_is_answered():
    async def serve(peer):
        await peer.welcome()
        while True:
            if (await peer.packet())[0] == 0xC0:
                await peer.say(b"\xd0\x00")

    async with Broker(serve) as broker, Ours(broker, keepalive=1) as ours:
        await ours.up()
        await until(lambda: [each[0] for each in broker.peers[0].heard].count(0xC0) >= 4)
        assert ours.client.is_up


async def test_silence():
    await asyncio.gather(
        a_broker_that_says_nothing_is_left(), half_a_packet_is_silence_too(), it_pings_and_stays_while_it_is_answered()
    )


async def test_a_message_without_an_acknowledgement_is_sent_again_as_a_duplicate():
    async def serve(peer):
        await peer.welcome()
        first = await peer.packet()
        await peer.say(packets.puback(9999))  # of nothing that is known
        second = await peer.packet()
        assert first[0] == 0x32 and second == (0x3A, first[1])
        await peer.say(packets.puback(packets.published(*second)[2]))
        await peer.hold()

    async with Broker(serve) as broker, Ours(broker, ack_seconds=0.2) as ours:
        client = await ours.up()
        await client.publish("mcu/oven/state", "x", 1)
        assert client.sent == 1 and broker.error is None


async def test_a_message_waits_for_the_next_connection_and_is_a_duplicate_there():
    async def serve(peer):
        await peer.welcome()
        if len(broker.peers) == 2:
            first, body = await peer.packet()
            assert first == 0x3A
            await peer.say(packets.puback(packets.published(first, body)[2]))
            await peer.hold()
        await peer.packet()

    broker = Broker(serve)
    async with broker, Ours(broker) as ours:
        client = await ours.up()
        saying = asyncio.create_task(client.publish("a", "x", 1))
        await ours.ended()
        again = asyncio.create_task(ours._once())
        await saying
        assert len(broker.peers) == 2
        await stopped(again)


async def test_packet_ids_go_round_and_none_is_used_twice_at_once():
    async def serve(peer):
        await peer.welcome()
        while True:
            first, body = await peer.packet()
            pid = packets.published(first, body)[2]
            if pid != 65535:
                await peer.say(packets.puback(pid))

    async with Broker(serve) as broker, Ours(broker) as ours:
        client = await ours.up()
        client._pid = 65533
        stuck = []
        for number in range(3):
            saying = asyncio.create_task(client.publish("a", str(number), 1))
            stuck.append(saying) if number == 1 else await saying
        await until(lambda: client.sent == 2)
        client._pid = 65534
        await client.publish("a", "3", 1)
        pids = [packets.published(*each)[2] for each in broker.peers[0].heard[2:]]
        assert pids == [65534, 65535, 1, 1], pids
        stuck[0].cancel()


async def test_no_more_wait_than_there_is_room_for():
    async def serve(peer):
        await peer.welcome()
        await peer.hold()

    async with Broker(serve) as broker, Ours(broker) as ours:
        client = await ours.up()
        tasks = [asyncio.create_task(client.publish("a", "x", 1)) for _ in range(mqtt.MAX_WAITING)]
        await until(lambda: len(broker.peers[0].heard) == 2 + mqtt.MAX_WAITING)
        try:
            await client.publish("a", "x", 1)
            raise AssertionError("there was room")
        except mqtt.Ended:
            pass
        for each in tasks:
            each.cancel()


async def test_nothing_is_published_without_a_connection():
    async def serve(peer):
        await peer.nothing()

    async with Broker(serve) as broker:
        client = Ours(broker).client
        try:
            await client.publish("a", "x")
            raise AssertionError("it was")
        except mqtt.Ended:
            pass


async def test_when_it_is_done_it_says_goodbye():
    async def serve(peer):
        await peer.welcome()
        await peer.hold()

    async with Broker(serve) as broker:
        client = Ours(broker).client

        async def done():
            await client.publish("a", "x")

        await client.connection(done)
        await until(lambda: broker.peers[0].heard[-1] == (0xE0, b""))


async def test_nobody_listens():
    async def serve(peer):
        await peer.nothing()

    async with Broker(serve) as broker:
        ours = Ours(broker)
    async with ours:
        assert isinstance(await ours.ended(), (OSError, EOFError))
