"""A whole agent, without a hub, beside a real mosquitto: what it takes from it, what it publishes, and what it lets itself be asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import gpiozero
import pytest
import pytest_asyncio
from gpiozero.pins.mock import MockFactory

from edgeagent import settings
from edgeagent.assembly.brokers import Brokers
from edgeagent.bridge import brokers
from edgeagent.bridge.intake import MAX_BYTES
from edgeagent.cli.local import _brokers as shown
from edgeagent.patterns import gpio
from tests.support.brokerpi import ZIGBEE, Pi, waiting
from tests.support.mosquitto import Mosquitto, Other, running
from tests.support.servers import kill, until

PINS = """
[commands]
allow = ["gpio.*"]
[gpio.pins.lamp]
pin = 17
direction = "output"
[gpio.pins.door]
pin = 22
direction = "input"
"""


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockFactory]:
    factory = MockFactory()
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    monkeypatch.setattr(gpiozero.Device, "pin_factory", factory)
    monkeypatch.setattr(gpio, "_taken", {})
    yield factory
    factory.reset()


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with running(tmp_path / "broker", "max_queued_messages 100000\n") as broker:
        yield broker


async def test_what_zigbee2mqtt_publishes_is_measured(broker: Mosquitto, tmp_path: Path) -> None:
    pi = Pi(tmp_path, broker)
    async with Other(broker.port) as other, pi.running():
        await other.say("zigbee2mqtt/bridge/state", '{"state": "online", "n": 1}', retain=True)
        await other.say("zigbee2mqtt/Küche/floor light/set", '{"brightness": 1}')
        await other.say("zigbee2mqtt/torn", "{")
        await other.say("zigbee2mqtt/Küche/floor light", '{"temperature": 21.5, "occupancy": true, "color": {"x": 0.3}}')
        await until(lambda: len(pi.samples) == 3, "it is in the leaf's store")
        assert {(each.metric, each.value) for each in pi.samples} == {
            ("zigbee2mqtt.temperature", 21.5),
            ("zigbee2mqtt.occupancy", 1),
            ("zigbee2mqtt.color.x", 0.3),
        }
        assert all(each.attributes == {"device": "Küche/floor light"} and each.time > 0 for each in pi.samples)
        await until(lambda: (found := pi.status) is not None and found.brokers["home"].malformed == 1, "what is wrong is counted")
        found = pi.status
        assert found is not None and found.brokers["home"].unreadable == "zigbee2mqtt/torn"
        (line,) = shown(found.brokers)
        assert "home: connected to 127.0.0.1" in line and "1 not readable, the last at zigbee2mqtt/torn" in line


async def test_messages_as_they_are(broker: Mosquitto, tmp_path: Path) -> None:
    pi = Pi(tmp_path, broker, '[[mqtt.brokers.home.rules]]\nin = "cam/#"\nas = "data"\n')
    async with Other(broker.port) as other, pi.running():
        await other.say("cam/front door/jpg", b"\xff\xd8\x00")
        await until(lambda: ("local.data.mqtt.home.cam.front_door.jpg", b"\xff\xd8\x00") in pi.local, "it is in the leaf's store")


async def test_what_had_no_room_comes_again(broker: Mosquitto, tmp_path: Path) -> None:
    """More than may wait for the store, at once: the broker sends again what was not acknowledged."""
    pi = Pi(tmp_path, broker, '[[mqtt.brokers.home.rules]]\nin = "cam/#"\nas = "data"\n')
    async with pi.running():
        await until(lambda: "cam/#" in broker.log, "it has subscribed")
    async with Other(broker.port) as other:
        for number in range(40):
            await other.say("cam/a", number.to_bytes(4, "big") + bytes(400_000))
    async with pi.running() as agent:
        (bridge,) = agent.brokers._brokers
        await until(lambda: len({data[:4] for _, data in pi.local if len(data) > 400_000}) == 40, "all of them are stored")
        assert bridge.intake._bytes <= MAX_BYTES


async def test_retained_messages_are_measured_once(broker: Mosquitto, tmp_path: Path) -> None:
    """They come again at each connect: of the agent, of its next start, and when they are published anew."""
    pi = Pi(tmp_path, broker)
    async with Other(broker.port) as other:
        await other.say("zigbee2mqtt/a", '{"v": 1}', retain=True)
        async with pi.running() as agent:
            await until(lambda: pi.values("zigbee2mqtt.v") == [1], "it came")
            (bridge,) = agent.brokers._brokers
            assert bridge.client._paho is not None
            before = bridge.client.status().received
            bridge.client._paho.drop()
            await until(lambda: bridge.client.status().received > before, "it came again")
            await other.say("zigbee2mqtt/a", '{"v": 2}', retain=True)
            await until(lambda: pi.values("zigbee2mqtt.v") == [1, 2], "a new one is measured")
        async with pi.running() as agent:
            (bridge,) = agent.brokers._brokers
            await until(lambda: bridge.client.status().received > 0, "it came again")
            await other.say("zigbee2mqtt/a", '{"v": 2}')
            await until(lambda: pi.values("zigbee2mqtt.v")[2:] == [2], "the same value measured anew is not the retained one")


async def test_a_flood_of_retained_messages(broker: Mosquitto, tmp_path: Path) -> None:
    """All of them are measured, and none of them again when they come again."""
    async with Other(broker.port) as other:
        infos = [other._client.publish(f"zigbee2mqtt/d{number}", b'{"v": 1}', 1, True) for number in range(10_000)]
        await until(lambda: all(info.is_published() for info in infos), "they are retained")
    pi = Pi(tmp_path, broker)
    async with pi.running() as agent:
        (bridge,) = agent.brokers._brokers
        await until(lambda: bridge.intake.count == 10_000, "all are stored")
        # Those that the broker still thinks we have not got would come twice; all do, where a busy machine had the connection made anew.
        await until(lambda: broker.log.count("Received PUBACK") >= 10_000, "the broker knows that they are stored")
        received = bridge.client.status().received
        assert bridge.client._paho is not None
        bridge.client._paho.drop()
        await until(lambda: bridge.client.status().received >= received + 10_000, "they came again")
        await until(lambda: len(pi.values("zigbee2mqtt.v")) == 10_000, "each was measured")
        # mosquitto 2.0.11 sends retained messages without waiting for any PUBACK; where the store is slower than that, the client takes no
        # more than so many, and has the rest sent again.
        assert (bridge.intake.count, bridge.intake.dropped) == (10_000, 0)


async def test_nothing_is_lost_while_the_leaf_or_the_broker_is_killed(broker: Mosquitto, tmp_path: Path) -> None:
    pi = Pi(tmp_path, broker)
    async with pi.running() as agent, Other(broker.port) as other:
        for number in range(60):
            if number == 20:
                assert agent.leaf.pid is not None
                kill(agent.leaf.pid)
            await other.say("zigbee2mqtt/a", f'{{"v": {number}}}')
        await until(lambda: agent.brokers.status()["home"].taken == 60, "all is stored")
        assert set(pi.values("zigbee2mqtt.v")) >= {0, 59}
        await broker.save()
    # What is stored is what the leaf has; the test's own ears were deaf while it was away.
    async with pi.running() as agent:
        broker.kill()
        await until(lambda: not pi.connected, "it is noticed")
        found = pi.status
        assert found is not None
        problems = " ".join(f"{each.what} {each.remedy}" for each in found.problems)
        assert "the broker home: cannot reach the broker at 127.0.0.1" in problems
        await broker.start()
        await until(lambda: pi.connected, "it is back", 70)
        async with Other(broker.port) as other:
            await other.say("zigbee2mqtt/a", '{"after": 1}')
            await until(lambda: pi.values("zigbee2mqtt.after") == [1], "it goes on")


async def test_own_publications_are_not_taken_in(broker: Mosquitto, tmp_path: Path) -> None:
    rules = 'publish = ["hw.temperature", "oven"]\nhome_assistant = true\n[[mqtt.brokers.home.rules]]\nin = "#"\n'
    pi = Pi(tmp_path, broker, rules)
    async with Other(broker.port, "edgeagent/pi-1/#", "homeassistant/#") as other, pi.running():
        await until(
            lambda: any("/metric/hw.temperature" in each[0] for each in list(other.heard)), "it publishes what it measures"
        )
        await until(lambda: other.of("homeassistant/device/edgeagent_pi-1/config") != [], "Home Assistant is told")
        await other.say("edgeagent/pi-1/metric/forged", "1")
        await other.say("oven/top", "200")
        await until(lambda: pi.values("oven") == [200], "what others publish is taken in")
        assert {each.metric for each in pi.samples} == {"oven"}
        assert other.of("edgeagent/pi-1/state")[-1] == b"online"
        await until(lambda: b"200" in other.of("edgeagent/pi-1/metric/oven/top"), "and what it took may be published")


async def test_home_assistant_switches_an_output(broker: Mosquitto, tmp_path: Path, pins: MockFactory) -> None:
    """As Home Assistant does it: by what the description says, and nothing else."""
    pi = Pi(tmp_path, broker, 'allow = ["gpio.write"]\nhome_assistant = true\n', PINS)
    async with Other(broker.port, "homeassistant/#", "edgeagent/#") as ha, pi.running() as agent:
        config = "homeassistant/device/edgeagent_pi-1/config"
        await until(lambda: ha.of(config) != [], "the device is described")
        switch = json.loads(ha.of(config)[-1])["cmps"]["switch_lamp"]
        await ha.say(switch["command_topic"], switch["payload_on"])
        await until(lambda: bool(pins.pin(17).state), "the lamp is on")
        await until(lambda: ha.of(switch["state_topic"])[-1:] == [switch["state_on"].encode()], "and said to be")
        await ha.say(switch["command_topic"], switch["payload_off"])
        await until(lambda: not pins.pin(17).state, "the lamp is off")
        await until(lambda: ha.of(switch["state_topic"])[-1:] == [switch["state_off"].encode()], "and said to be")
        await until(lambda: len(waiting(agent)) == 2, "both are in the audit")
        assert waiting(agent)[0] == {
            "by": "mqtt:home",
            "action": "gpio.write",
            "args": "gpio.write pin=lamp value=1",
            "state": "succeeded",
        }
    pi.write('allow = ["gpio.write"]\n', PINS)
    async with Other(broker.port, "homeassistant/#") as ha, pi.running():
        await until(lambda: ha.of(config)[-1:] == [b""], "switched off, it is taken away")


REFUSED: dict[str, tuple[str, bytes, bool, str]] = {
    "not-in-allow": ("gpio.read", b'{"pin": "lamp"}', False, "`gpio.read` in `mqtt.brokers.home.allow`"),
    "not-in-agent-toml": ("reboot.now", b"{}", False, "there is no action 'reboot.now'"),
    "an-input": ("gpio.write", b'{"pin": "door", "value": 1}', False, 'direction = "output"'),
    "arguments": ("gpio.write", b'{"pin": "lamp"}', False, "it needs 'value'"),
    "no-object": ("gpio.write", b"1", False, "no JSON object"),
    "torn": ("gpio.write", b"{", False, "no JSON object"),
    "nested": ("gpio.write", b'{"a":' * 800, False, "no JSON object"),
    "half-a-character": ("gpio.write", b'{"pin": "\\ud800", "value": 1}', False, "ud800"),
    "no-number": ("gpio.write", b'{"pin": "lamp", "value": NaN}', False, "value"),
    "turned-round": ("gpio.\u202ewrite", b"{}", False, "in `mqtt.brokers.home.allow`"),
    "large": ("gpio.write", b'{"pin": "' + b"x" * 5000 + b'"}', False, "no JSON object"),
    "retained": ("gpio.write", b'{"pin": "lamp", "value": 1}', True, "not obeyed"),
}


@pytest.mark.parametrize(("name", "payload", "retain", "why"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_refused_is_in_the_audit(
    broker: Mosquitto, tmp_path: Path, pins: MockFactory, name: str, payload: bytes, retain: bool, why: str
) -> None:
    pi = Pi(tmp_path, broker, 'allow = ["gpio.write", "reboot.*"]\n', PINS)
    where = f"edgeagent/pi-1/action/{name}"
    async with Other(broker.port, "edgeagent/#") as other:
        if retain:
            await other.say(where, payload, retain=True)
        async with pi.running() as agent:
            await until(lambda: "edgeagent/pi-1/action/+" in broker.log, "it listens")
            if not retain:
                await other.say(where, payload)
            await until(lambda: len(waiting(agent)) == 1, "it is in the audit")
            assert waiting(agent)[0]["state"] == "refused" and waiting(agent)[0]["by"] == "mqtt:home"
            (severity, event, _) = next(each for each in agent.events._waiting if each[1].kind == "action.asked")
            assert severity == "warning" and why in event.text
            await until(lambda: other.of(f"{where}/result") != [], "and answered")
            assert not pins.pin(17).state


async def test_what_waited_while_the_agent_was_away_is_not_obeyed(broker: Mosquitto, tmp_path: Path, pins: MockFactory) -> None:
    pi = Pi(tmp_path, broker, f'allow = ["gpio.write"]\n{ZIGBEE}', PINS)
    async with Other(broker.port) as other:
        async with pi.running():
            await until(lambda: "edgeagent/pi-1/action/+" in broker.log, "it listens")
        await other.say("zigbee2mqtt/a", '{"v": 1}')
        await other.say("edgeagent/pi-1/action/gpio.write", '{"pin": "lamp", "value": 1}')
        async with pi.running() as agent:
            await until(lambda: pi.values("zigbee2mqtt.v") == [1], "what was measured meanwhile came")
            await other.say("edgeagent/pi-1/action/gpio.write", '{"pin": "lamp", "value": 0}')
            await until(lambda: len(waiting(agent)) == 1, "what is asked now is done")
            assert waiting(agent)[0]["args"] == "gpio.write pin=lamp value=0" and not pins.pin(17).state


async def test_who_asks_too_often_is_refused(broker: Mosquitto, tmp_path: Path, pins: MockFactory) -> None:
    pi = Pi(tmp_path, broker, 'allow = ["gpio.write"]\n', PINS)
    async with Other(broker.port) as other, pi.running() as agent:
        await until(lambda: "edgeagent/pi-1/action/+" in broker.log, "it listens")
        for number in range(60):
            await other.say("edgeagent/pi-1/action/gpio.write", json.dumps({"pin": "lamp", "value": number % 2}), qos=0)
        await until(lambda: agent.brokers.status()["home"].asked == 60, "all were heard")
        await until(lambda: any(each["state"] == "refused" for each in waiting(agent)), "and not all obeyed")
        refused = [each for each in waiting(agent) if each["state"] == "refused"]
        assert len(refused) <= brokers.TOLD + brokers.MAX_RUNNING + 1, "nor is each told"


def test_no_broker_costs_nothing(tmp_path: Path) -> None:
    assert Brokers.__init__.__module__ == "edgeagent.assembly.brokers"
    assert settings.parse("", tmp_path / "agent.toml").mqtt.brokers == {}
