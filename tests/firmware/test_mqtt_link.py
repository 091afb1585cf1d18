"""The board's link by MQTT against real brokers that are killed, held up, and wrong."""

from __future__ import annotations

import json
import signal
from collections import Counter
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.support import mosquitto, mqttboard, mqttleaf
from tests.support.micropython import missing
from tests.support.mosquitto import Other
from tests.support.servers import is_alive, kill, until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it runs")
READINGS = 300


async def test_every_reading_is_at_the_device_once_though_its_leaf_is_killed(tmp_path: Path) -> None:
    async with mqttleaf.running(tmp_path, mcu_ids=["oven"]) as leaf, leaf_board(leaf) as board:
        for part in (1, 2):
            await until(lambda part=part: board.now["measured"] > READINGS * part / 4, "it measures")  # type: ignore[misc]
            pid = leaf.leaf.pid
            assert pid
            kill(pid)
            await until(lambda pid=pid: not is_alive(pid), "the leaf is killed")  # type: ignore[misc]
            await board.goes_on()
        await until(lambda: board.now["measured"] == READINGS and board.now["kept"] == 0, "all are acknowledged")
        stored = Counter(await leaf.values("mcu.n"))
        assert stored == Counter(float(number) for number in range(1, READINGS + 1))
        assert await leaf.mcus.command("oven", "led", {"on": 1}) == {"on": 1} and board.now["kept"] == 0
        assert any("connected to the broker" in line.text for line in leaf.mcus.lines("oven"))


def leaf_board(leaf: mqttleaf.MqttLeaf) -> AbstractAsyncContextManager[mqttboard.MqttBoard]:
    return mqttboard.running("oven", leaf.port, count=READINGS, user="oven", password=mqttleaf.PASSWORD)


async def test_with_anothers_id_it_is_told_that_it_may_not(tmp_path: Path) -> None:
    async with (
        mqttleaf.running(tmp_path, mcu_ids=["oven", "door"]) as leaf,
        mqttboard.running("oven", leaf.port, user="door", password=mqttleaf.PASSWORD) as thief,
        mqttboard.running("oven", leaf.port, user="oven", password="guessed") as guesser,
    ):
        await thief.says("the broker does not let it subscribe to mcu/oven/in")
        await guesser.says("wrong user or password")
        await guesser.goes_on()


async def test_a_broker_that_is_held_up_is_noticed_left_and_found_again(tmp_path: Path) -> None:
    async with mosquitto.running(tmp_path) as broker, mqttboard.running("oven", broker.port) as board:
        await board.is_up()
        broker.signal(signal.SIGSTOP)
        try:
            await board.says("the broker said nothing for 1 s")
            await board.goes_on()
            assert board.now["up"] is False
        finally:
            broker.signal(signal.SIGCONT)
        await board.is_up()


async def test_a_broker_that_is_away_and_then_has_another_password(tmp_path: Path) -> None:
    broker = mosquitto.Mosquitto(tmp_path, logins={"oven": "new"})
    mosquitto.needed()
    try:
        async with mqttboard.running("oven", broker.port, user="oven", password="old") as board:
            await board.says("nothing listens there")
            await broker.start()
            await board.says("wrong user or password")
            await board.goes_on()
            broker.kill()
            broker.set_logins({"oven": "old"})
            await broker.start()
            await board.is_up()
            assert not board.has_said("old"), "no password in its log"
    finally:
        broker.kill()


async def test_others_are_told_when_it_comes_and_when_it_dies(tmp_path: Path) -> None:
    async with (
        mosquitto.running(tmp_path) as broker,
        Other(broker.port, "mcu/#") as other,
        mqttboard.running("oven", broker.port, count=20) as board,
    ):
        await until(lambda: other.of("mcu/oven/state") == [b"online"], "it is online")
        await until(lambda: len(other.of("mcu/oven/out")) > 16, "its first window came")
        said = [json.loads(each) for each in other.of("mcu/oven/out")]
        assert said[0]["t"] == "hello" and [each["s"] for each in said[1:17]] == [*range(1, 17)]
        board.kill()
        await until(lambda: other.of("mcu/oven/state") == [b"online", b"offline"], "it is offline")
