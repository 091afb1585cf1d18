"""The MQTT client against a real mosquitto, and against listeners that are no brokers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.bridge import mqttdial, mqttpaho
from edgeagent.bridge.mqttclient import MAX_UNACKED, MqttMessage, MqttOptions, Will
from edgeagent.trust import certificates
from tests.support.mosquitto import Mosquitto, Other, running
from tests.support.mqttside import Ours
from tests.support.servers import until

MORE = "max_queued_messages 100000\n"


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with running(tmp_path / "broker", MORE) as broker:
        yield broker


async def test_both_ways(broker: Mosquitto) -> None:
    async with Other(broker.port, "up/#") as other, Ours(broker.port) as ours:
        ours.client.subscribe({"down/#": 1, "fast/#": 0})
        await ours.connected()
        await until(lambda: "fast/#" in broker.log, "it has subscribed")
        await other.say("down/ä b/c", b"\x00\xff")
        await other.say("fast/a", "1", qos=0)
        await until(lambda: len(ours.heard) == 2, "both came")
        assert {(m.topic, m.payload, m.qos, m.retain) for m in ours.heard} == {
            ("down/ä b/c", b"\x00\xff", 1, False),
            ("fast/a", b"1", 0, False),
        }
        assert ours.client.publish("up/a", b"x") and ours.client.publish("up/b", b"y", qos=0, retain=True)
        await until(lambda: len(other.heard) == 2, "both arrived")
        await until(lambda: ours.client.status().sent == 2 and not ours.client.status().waiting, "both are counted")


async def test_what_no_broker_takes_is_dropped_and_counted(broker: Mosquitto) -> None:
    async with Ours(broker.port, max_message_bytes=1000) as ours:
        await ours.connected()
        for topic, payload in (("", b""), ("a/+", b""), ("a#", b""), ("a\0", b""), ("x" * 65536, b""), ("a", bytes(1001))):
            assert not ours.client.publish(topic, payload)
        assert ours.client.status().dropped == 6
        assert ours.client.publish("a", bytes(1000))


async def test_the_broker_is_killed_and_comes_back(broker: Mosquitto) -> None:
    """Nothing of QoS 1 is lost, in either direction; the session of the broker has to survive for that, and it was stored."""
    async with Ours(broker.port) as ours:
        ours.client.subscribe({"down/#": 1})
        await ours.connected()
        async with Other(broker.port) as other:
            await other.say("down/1", "before")
            await until(lambda: ours.payloads == [b"before"], "it hears")
        await broker.save()
        broker.kill()
        await ours.problem("nothing listens there")
        sent = [b"%d" % number for number in range(50)]
        assert all(ours.client.publish("up/x", payload) for payload in sent)
        assert ours.client.status().waiting == 50
        await broker.start()
        async with Other(broker.port, "up/#") as other:
            await ours.connected()
            await other.say("down/2", "after")
            await until(lambda: b"after" in ours.payloads, "it hears again")
            await until(lambda: not ours.client.status().waiting, "all is acknowledged")
            assert ours.client.status().problem is None


async def test_what_waits_is_bounded(broker: Mosquitto) -> None:
    broker.kill()
    async with Ours(broker.port, queue=10) as ours:
        await ours.problem("nothing listens there")
        assert [ours.client.publish("up/x", b"%d" % number) for number in range(15)] == [True] * 10 + [False] * 5
        assert not ours.client.publish("up/x", b"now or never", qos=0)
        assert (ours.client.status().waiting, ours.client.status().dropped) == (10, 6)
        broker.begin()
        await broker.ready()
        await until(lambda: ours.client.status().sent == 10, "what waited is sent")
        assert ours.client.publish("up/x", b"more")


async def test_a_broker_that_hangs_is_given_up_and_found_again(broker: Mosquitto) -> None:
    async with Ours(broker.port, keepalive_seconds=1, connect_seconds=1) as ours:
        await ours.connected()
        broker.signal(signal.SIGSTOP)
        try:
            await ours.problem("it has gone silent")
            await ours.problem("does not answer")
        finally:
            broker.signal(signal.SIGCONT)
        await ours.connected()


async def test_what_is_not_acknowledged_comes_again(broker: Mosquitto) -> None:
    async with Other(broker.port) as other:
        async with Ours(broker.port) as ours:
            ours.holds = True
            ours.client.subscribe({"down/#": 1})
            await ours.connected()
            await until(lambda: "down/#" in broker.log, "it has subscribed")
            await other.say("down/1", "first")
            await until(lambda: ours.payloads == [b"first"], "it came")
            stale = ours.heard[0]
        async with Ours(broker.port) as ours:
            await until(lambda: ours.payloads == [b"first"], "it came again")
            stale.ack()
        async with Ours(broker.port) as ours:
            await ours.connected()
            await other.say("down/2", "second")
            await until(lambda: ours.payloads == [b"second"], "what was acknowledged does not")


async def test_a_flood_of_retained_messages(broker: Mosquitto) -> None:
    """A consumer that is slow to store them has never more than a bounded number on its hands, and gets all of them in the end."""
    async with Other(broker.port) as other:
        infos = [other._client.publish(f"flood/{number}", b"x" * 100, 1, True) for number in range(10_000)]
        await until(lambda: all(info.is_published() for info in infos), "they are retained")
    async with Ours(broker.port) as ours:
        ours.holds = True
        ours.client.subscribe({"flood/#": 1})
        await until(lambda: len(ours.heard) >= 20, "as many came as mosquitto lets be unacknowledged")
        topics, held = set[str](), list[MqttMessage]()
        while len(topics) < 10_000:
            await until(lambda: len(ours.heard) > 0, f"more than {len(topics)} came")
            held, ours.heard = ours.heard, []
            assert len(held) <= MAX_UNACKED
            for message in held:
                assert message.retain
                topics.add(message.topic)
                message.ack()
        assert ours.client.status().dropped == 0


async def test_messages_that_are_too_large_are_let_go(broker: Mosquitto) -> None:
    async with Other(broker.port) as other, Ours(broker.port, max_message_bytes=1000) as ours:
        ours.client.subscribe({"down/#": 1})
        await ours.connected()
        await until(lambda: "down/#" in broker.log, "it has subscribed")
        await other.say("down/huge", bytes(20 << 20))
        await other.say("down/large", bytes(1001))
        await other.say("down/fits", bytes(1000))
        await until(lambda: len(ours.heard) == 1, "the small one came")
        assert ours.heard[0].topic == "down/fits" and ours.client.status().oversized == 2
    async with Ours(broker.port) as ours:
        await ours.connected()
        async with Other(broker.port) as other:
            await other.say("down/next", "1")
        await until(lambda: ours.payloads == [b"1"], "they do not come again")


async def test_the_will(broker: Mosquitto) -> None:
    will = Will(topic="state/pi-1", here=b"online", gone=b"offline")
    async with Other(broker.port, "state/#") as other:
        async with Ours(broker.port, will=will):
            await until(lambda: other.of("state/pi-1") == [b"online"], "it says that it is there")
        await until(lambda: other.of("state/pi-1")[1:] == [b"offline"], "it says that it goes")
        async with Ours(broker.port, will=will) as ours:
            await until(lambda: len(other.heard) == 3, "it is there again")
            assert ours.client._paho is not None
            ours.client._paho.drop()
            await until(lambda: b"offline" in other.of("state/pi-1")[3:], "the broker says that it is gone")
            await until(lambda: other.of("state/pi-1")[-1] == b"online", "it is back")
    async with Other(broker.port, "state/#") as other:
        await until(lambda: other.heard == [("state/pi-1", b"offline", True)], "who comes later sees it too")


async def test_a_wrong_password_is_named_and_read_anew(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    async with (
        running(tmp_path / "broker", logins={"pi": "right"}) as broker,
        Ours(broker.port, user="pi", password_file=secret) as ours,
    ):
        await ours.problem("`user` and the file that `password_file` names")
        secret.unlink()
        await ours.problem("there is no such file")
        secret.write_text("right\n")
        await ours.connected()
        assert ours.why == ""


@pytest.mark.parametrize(
    ("authority", "names", "days", "words"),
    [
        ("right", ["127.0.0.1"], 10, ""),
        ("other", ["127.0.0.1"], 10, "signed by an authority that is not trusted"),
        ("right", ["10.0.0.1"], 10, "for another address than 127.0.0.1"),
        ("right", ["127.0.0.1"], -1, "has expired"),
    ],
    ids=["trusted", "wrong-authority", "wrong-name", "expired"],
)
async def test_tls(tmp_path: Path, authority: str, names: list[str], days: int, words: str) -> None:
    ends = datetime.now(timezone.utc) + timedelta(days=days)
    authorities = {
        name: certificates.make_authority(name, datetime.now(timezone.utc) + timedelta(days=99)) for name in ("right", "other")
    }
    pair = certificates.make_server(authorities["right"], names, ends)
    for name, data in (("ca", authorities[authority].certificate), ("crt", pair.certificate), ("key", pair.key)):
        (tmp_path / name).write_bytes(data)
    async with running(tmp_path / "broker", f"certfile {tmp_path}/crt\nkeyfile {tmp_path}/key\n") as broker:
        async with Ours(broker.port, tls=True, ca_file=tmp_path / "ca") as ours:
            if words:
                await ours.problem(words)
                return
            ours.client.subscribe({"a/#": 1})
            await ours.connected()
            big = os.urandom(300_000)
            assert ours.client.publish("a/b", big)
            await until(lambda: ours.payloads == [big], "it goes both ways")
        async with Ours(broker.port) as plain:
            await plain.problem("before it let us in")


async def test_a_file_of_authorities_that_holds_none(broker: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("")
    async with Ours(broker.port, tls=True, ca_file=tmp_path / "ca") as ours:
        await ours.problem("it holds no certificates in PEM form")


async def test_no_broker_speaks_tls_here(broker: Mosquitto) -> None:
    async with Ours(broker.port, tls=True) as ours:
        await ours.problem("8883 with it (mqtts://)")


@pytest.mark.parametrize("host", ["no-such-host.invalid", f"{'x' * 70}.example"], ids=["unknown", "impossible"])
async def test_no_such_name(host: str) -> None:
    async with Ours(1883, host=host) as ours:
        await until(lambda: ours.why != "", "it says so")
        assert "is the address right" in ours.why.lower()


async def test_nothing_is_left_after_the_close(broker: Mosquitto) -> None:
    def sockets() -> int:
        found = 0
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                found += str(entry.readlink()).startswith("socket:")
        return found

    before, threads = sockets(), threading.active_count()
    async with Ours(broker.port) as ours:
        await ours.connected()
        assert sockets() > before
        assert all("paho" not in thread.name for thread in threading.enumerate())
    assert sockets() == before and threading.active_count() <= threads + 1, "but for a thread that looks up names"
    await ours.client.close()
    assert not ours.client.publish("up/x", b"") and not ours.client.status().connected


async def test_a_close_while_it_dials() -> None:
    """To an address that swallows what is sent there."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            ours = Ours(port, connect_seconds=60)
            ours.client.start()
            await until(lambda: ours.client._connection == 1, "it dials")
            await ours.client.close()


def test_what_it_is_made_of() -> None:
    assert mqttpaho.READ_BYTES < 1 << 20
    assert mqttdial.password_of(MqttOptions(host="h", client_id="c", password="p")) == "p"
    assert "secret" not in repr(MqttOptions(host="h", client_id="c", password="secret"))
