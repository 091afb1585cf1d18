"""The whole board by MQTT against real brokers that are killed, held up, and wrong, and with a Wi-Fi that goes away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
from collections import Counter
from pathlib import Path

import pytest

from edgeagent.leaf.mqtttls import OwnTls
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver import ports
from tests.support import mosquitto, mqttagent, mqttboard, mqttleaf
from tests.support.micropython import missing
from tests.support.mosquitto import Other
from tests.support.servers import is_alive, kill, until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it runs")
READINGS = 300


async def test_every_reading_is_at_the_device_once_though_its_leaf_is_killed_and_held_up(tmp_path: Path) -> None:
    login = {"user": "oven", "password": mqttleaf.PASSWORD, "ca": str(tmp_path / "ca.der")}
    mqtt = MqttSettings(port=ports.pick(), tls="self")
    async with mqttleaf.running(tmp_path / "leaf", mcu_ids=["oven"], mqtt=mqtt) as leaf, contextlib.AsyncExitStack() as stack:
        ca = OwnTls(leaf.leaf.options.folder).ca.read_text()
        (tmp_path / "ca.der").write_bytes(ssl.PEM_cert_to_DER_cert(ca))
        board = await stack.enter_async_context(mqttboard.running(tmp_path, "oven", leaf.port, count=READINGS, **login))
        await board.is_up()
        pid = leaf.leaf.pid
        assert pid
        kill(pid)
        await until(lambda: not is_alive(pid), "the leaf is killed")
        await board.goes_on()
        await until(lambda: board.said.count("connected to the broker at 127.0.0.1") == 2, "it is there again")
        pid = leaf.leaf.pid
        assert pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await board.says("the broker said nothing for 3 s")
            await until(lambda: board.measured == READINGS, "it goes on")
        finally:
            os.kill(pid, signal.SIGCONT)

        async def stored() -> bool:
            return len(set(await leaf.values("mcu.n"))) == READINGS

        await until(stored, "all are stored")
        assert Counter(await leaf.values("mcu.n")) == Counter(float(number) for number in range(1, READINGS + 1))
        assert any("connected to the broker" in line.text for line in leaf.mcus.lines("oven"))


async def test_with_anothers_id_it_is_told_that_it_may_not(tmp_path: Path) -> None:
    async with (
        mqttleaf.running(tmp_path, mcu_ids=["oven", "door"]) as leaf,
        mqttboard.running(tmp_path / "1", "oven", leaf.port, user="door", password=mqttleaf.PASSWORD) as thief,
        mqttboard.running(tmp_path / "2", "oven", leaf.port, user="oven", password="guessed") as guesser,
    ):
        await thief.says("the broker does not let it subscribe to mcu/oven/in")
        await guesser.says("wrong user or password")
        await guesser.goes_on()


async def test_a_broker_that_is_away_and_then_has_another_password(tmp_path: Path) -> None:
    broker = mosquitto.Mosquitto(tmp_path / "broker", logins={"oven": "new"})
    mosquitto.needed()
    try:
        async with mqttboard.running(tmp_path, "oven", broker.port, user="oven", password="old-secret") as board:
            await board.says("nothing listens there")
            await broker.start()
            await board.says("wrong user or password")
            await board.goes_on()
            broker.kill()
            broker.set_logins({"oven": "old-secret"})
            await broker.start()
            await board.is_up()
            assert not board.has_said("old-secret"), "no password in its log"
    finally:
        broker.kill()


async def test_every_reading_comes_by_a_broker_that_is_killed_and_held_up(tmp_path: Path) -> None:
    async with (
        mosquitto.running(tmp_path / "broker") as broker,
        mqttagent.answering(broker.port, "oven") as agent,
        mqttboard.running(tmp_path, "oven", broker.port, count=READINGS) as board,
    ):
        await until(lambda: len(agent.readings) > 20, "readings come")
        broker.kill()
        await board.goes_on()
        await broker.start()
        before = len(agent.readings)
        await until(lambda: len(agent.readings) > before, "readings come again")
        broker.signal(signal.SIGSTOP)
        try:
            await board.says("the broker said nothing for 3 s")
            await until(lambda: board.measured == READINGS, "it goes on")
        finally:
            broker.signal(signal.SIGCONT)
        await until(lambda: len(agent.readings) == READINGS, "all are there")
        assert [agent.readings[key]["n"] for key in sorted(agent.readings)] == [*range(1, READINGS + 1)]


async def test_others_are_told_when_it_comes_and_when_it_dies(tmp_path: Path) -> None:
    async with (
        mosquitto.running(tmp_path / "broker") as broker,
        Other(broker.port, "mcu/#") as other,
        mqttboard.running(tmp_path, "oven", broker.port, count=20) as board,
    ):
        await until(lambda: other.of("mcu/oven/state") == [b"online"], "it is online")
        await until(lambda: len(other.of("mcu/oven/out")) > 16, "its first window came")
        said = [json.loads(each) for each in other.of("mcu/oven/out")]
        numbers = [each["s"] for each in said if each["t"] == "r"]
        assert said[0]["t"] == "hello" and numbers[:16] == [*range(1, 17)] and max(numbers) == 16
        board.kill()
        await until(lambda: other.of("mcu/oven/state") == [b"online", b"offline"], "it is offline")


async def test_without_its_access_point_it_measures_on_says_why_and_comes_back(tmp_path: Path) -> None:
    async with (
        mosquitto.running(tmp_path / "broker") as broker,
        mqttagent.answering(broker.port, "oven") as agent,
        mqttagent.answering(broker.port, "door") as other,
        mqttboard.running(tmp_path / "1", "oven", broker.port) as board,
        mqttboard.running(tmp_path / "2", "door", broker.port, radio="badpw") as stranger,
    ):
        await until(lambda: len(agent.readings) > 5, "readings come")
        board.be_on_air("noap")
        await stranger.says("cannot connect to the Wi-Fi workshop: wrong password")
        await stranger.goes_on()
        stranger.be_on_air("up")
        await board.says("the Wi-Fi is gone")
        await board.says("cannot connect to the Wi-Fi workshop: there is no such network here")
        await board.goes_on()
        away = board.measured
        board.be_on_air("up")
        await until(lambda: len(agent.readings) > away, "what was measured meanwhile comes")
        assert [agent.readings[key]["n"] for key in sorted(agent.readings)][:away] == [*range(1, away + 1)]
        assert len({boot for boot, _ in agent.readings}) == 1, "it was not reset"
        await until(lambda: len(other.readings) > 5, "with the right password it comes too")
