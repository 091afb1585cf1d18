"""A broker that agent.toml names no more: what stands there is taken away, or said to be there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.bridge import outlet
from edgeagent.bridge.brokerstate import BrokerState, Login
from edgeagent.bridge.farewell import left_behind
from tests.support.brokerpi import Pi
from tests.support.mosquitto import Mosquitto, Other, running
from tests.support.servers import until

CONFIG = "homeassistant/device/edgeagent_pi-1/config"
LOGIN = 'user = "pi"\npassword_file = "password"\n'
TEXT = f'{LOGIN}publish = ["hw.temperature"]\nhome_assistant = true\n[[mqtt.brokers.home.rules]]\nin = "zigbee2mqtt/#"\n'


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "TELL_SECONDS", 0.2)


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with running(tmp_path / "broker", logins={"pi": "let me in", "ha": "me too"}) as broker:
        (tmp_path / "password").write_text("let me in\n")
        yield broker


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def home_assistant(broker: Mosquitto) -> Other:
    return Other(broker.port, "homeassistant/#", "edgeagent/#", user="ha", password="me too")


async def told(pi: Pi, broker: Mosquitto) -> set[str]:
    """Let Home Assistant be told; what is retained then."""
    async with home_assistant(broker) as ha, pi.running():
        await until(lambda: any(b"sensor_" in each for each in ha.of(CONFIG)), "the device is described")
        await until(lambda: any("/metric/" in topic for topic, _, _ in list(ha.heard)), "and its values are there")
    async with home_assistant(broker) as ha:
        await until(lambda: {CONFIG, "edgeagent/pi-1/state"} < {topic for topic, _, _ in list(ha.heard)}, "it is retained")
        return {topic for topic, _, retained in list(ha.heard) if retained}


def without(pi: Pi) -> None:
    """Take the broker out of agent.toml."""
    pi.file.write_text(pi.file.read_text().partition("[mqtt.")[0])


def problems(pi: Pi) -> str:
    found = pi.status
    return " ".join(f"{each.what} {each.remedy}" for each in found.problems) if found else ""


async def test_what_stands_there_is_taken_away(broker: Mosquitto, tmp_path: Path, state: Path) -> None:
    pi = Pi(tmp_path, broker, TEXT)
    retained = await told(pi, broker)
    without(pi)
    async with home_assistant(broker) as ha, pi.running(waits=False) as agent:
        await until(lambda: all(ha.of(topic)[-1:] == [b""] for topic in retained), "all of it is taken away")
        await until(lambda: any(event.kind == "broker.removed" for _, event, _ in agent.events._waiting), "and told")
        assert not list(state.glob("broker-*")) and "agent.toml names no more" not in problems(pi)
    log = broker.log
    assert "Received UNSUBSCRIBE from edgeagent-pi-1" in log and "zigbee2mqtt/#" in log, "nor does it keep messages for us"


async def test_what_cannot_be_taken_away_is_said_until_it_can(broker: Mosquitto, tmp_path: Path, state: Path) -> None:
    pi = Pi(tmp_path, broker, TEXT)
    await told(pi, broker)
    without(pi)
    (tmp_path / "password").unlink()
    async with pi.running(waits=False) as agent:
        await until(lambda: "agent.toml names no more" in problems(pi), "it is in the status")
        assert CONFIG in problems(pi) and str(state / "broker-home.json") in problems(pi)
        assert [event.kind for _, event, _ in agent.events._waiting].count("broker.left_behind") == 1
        assert (state / "broker-home.json").exists()
    (tmp_path / "password").write_text("let me in\n")
    async with home_assistant(broker) as ha, pi.running(waits=False):
        await until(lambda: ha.of(CONFIG)[-1:] == [b""], "it is taken away")
        await until(lambda: not (state / "broker-home.json").exists(), "and forgotten")
        await until(lambda: "agent.toml names no more" not in problems(pi), "and the status says so")


async def test_one_that_was_only_listened_to_keeps_no_messages_for_us(broker: Mosquitto, tmp_path: Path, state: Path) -> None:
    pi = Pi(tmp_path, broker, f'{LOGIN}[[mqtt.brokers.home.rules]]\nin = "zigbee2mqtt/#"\n')
    async with pi.running():
        await until(lambda: "Received SUBSCRIBE from edgeagent-pi-1" in broker.log, "it listens")
    without(pi)
    async with pi.running(waits=False) as agent:
        await until(lambda: "Received UNSUBSCRIBE from edgeagent-pi-1" in broker.log, "it no longer does")
        await until(lambda: not (state / "broker-home.json").exists(), "that is all")
        assert not [event for _, event, _ in agent.events._waiting if event.kind.startswith("broker.")]


async def test_one_that_moved_is_taken_leave_of_where_it_was(broker: Mosquitto, tmp_path: Path) -> None:
    pi = Pi(tmp_path, broker, TEXT)
    await told(pi, broker)
    async with running(tmp_path / "new", logins={"pi": "let me in", "ha": "me too"}) as new:
        pi.file.write_text(pi.file.read_text().replace(broker.url, new.url))
        async with home_assistant(broker) as before, home_assistant(new) as now, pi.running():
            await until(lambda: before.of(CONFIG)[-1:] == [b""], "it is taken away there")
            await until(lambda: bool(now.of(CONFIG)) and bool(now.of(CONFIG)[-1]), "and told here")


async def test_one_that_was_renamed_goes_on(broker: Mosquitto, tmp_path: Path, state: Path) -> None:
    pi = Pi(tmp_path, broker, TEXT)
    await told(pi, broker)
    pi.file.write_text(pi.file.read_text().replace("brokers.home", "brokers.house"))
    async with home_assistant(broker) as ha:
        await until(lambda: bool(ha.of(CONFIG)), "it is there")
        async with pi.running(waits=False):
            await until(lambda: len(ha.of(CONFIG)) > 1, "it is told anew")
        assert all(ha.of(CONFIG)) and [each.name for each in state.glob("broker-*")] == ["broker-house.json"]


def test_which_files_are_left(tmp_path: Path) -> None:
    for name, host in (("home", "a"), ("gone", "b"), ("old", ""), ("twin", "a")):
        login = Login(host=host, port=1883, client_id="x") if host else None
        BrokerState(login=login).save(tmp_path / f"broker-{name}.json")
    (tmp_path / "broker-torn.json").write_text("{")
    assert left_behind(tmp_path, {"home": "a:1883"}).keys() == {"gone", "old", "torn"}
    assert {each.name for each in tmp_path.iterdir()} == {f"broker-{name}.json" for name in ("home", "gone", "old", "torn")}
    assert left_behind(tmp_path, {"home": "c:1883"})["home@a:1883"].exists()


def test_what_is_to_be_taken_away() -> None:
    assert BrokerState(base="x").topics == []
    entities = {"a": {"p": "sensor", "state_topic": "x/metric/a"}, "b": {"p": "button"}}
    assert BrokerState(base="x", discovery={"h/config": entities}).topics == ["h/config", "x/metric/a", "x/state"]
