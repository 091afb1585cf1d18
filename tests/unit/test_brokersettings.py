"""The brokers of agent.toml: what is accepted, and in which words the rest is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.bridge.brokerstate import MAX_TOPICS, BrokerState, Taken
from edgeagent.brokersettings import BrokerSettings
from edgeagent.config import KEYS
from edgeagent.errors import SettingsProblem
from edgeagent.mqttsettings import MqttSettings
from edgeagent.settings import parse

HOME = '[mqtt.brokers.home]\nurl = "mqtts://broker.example"\n'


def read(text: str) -> MqttSettings:
    return parse(text, Path("/etc/edgeagent/agent.toml")).mqtt


def test_what_may_stand_there() -> None:
    found = read(
        HOME
        + """
user = "pi"
password_file = "broker.password"
ca_file = "/etc/ca.pem"
publish = ["system.cpu.utilization", "mcu.*"]
allow = ["gpio.write"]
home_assistant = true
[[mqtt.brokers.home.rules]]
in = "zigbee2mqtt/#"
except = ["zigbee2mqtt/bridge/#"]
[[mqtt.brokers.home.rules]]
in = "tele/+/SENSOR"
as = "data"
name = "tasmota"
device = [2]
"""
    ).brokers["home"]
    assert (found.host, found.port, found.tls) == ("broker.example", 8883, True)
    first, second = found.rules
    assert (first.in_, first.except_, first.as_, first.name) == ("zigbee2mqtt/#", ["zigbee2mqtt/bridge/#"], "samples", "")
    assert (second.as_, second.name, second.device) == ("data", "tasmota", [2])


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [("mqtt://10.0.0.1", "10.0.0.1", 1883), ("mqtt://h:1/", "h", 1), ("mqtts://[::1]:8883", "::1", 8883)],
    ids=["address", "port", "six"],
)
def test_addresses(url: str, host: str, port: int) -> None:
    found = BrokerSettings(url=url)
    assert (found.host, found.port) == (host, port)


BAD = {
    "no-url": ("[mqtt.brokers.home]\n", "mqtt.brokers.home.url: it must be set"),
    "scheme": ('[mqtt.brokers.home]\nurl = "http://h"\n', "it must be an address such as mqtt://"),
    "login-in-url": ('[mqtt.brokers.home]\nurl = "mqtt://u:p@h"\n', "it must be an address such as mqtt://"),
    "port": ('[mqtt.brokers.home]\nurl = "mqtt://h:70000"\n', "it must be an address such as mqtt://"),
    "ca-without-tls": ('[mqtt.brokers.home]\nurl = "mqtt://h"\nca_file = "x"\n', "mqtt:// has no TLS"),
    "name": ('[mqtt.brokers.HOME]\nurl = "mqtt://h"\n', "beginning with a letter"),
    "rule-without-in": (f"{HOME}[[mqtt.brokers.home.rules]]\n", "in: it must be set"),
    "filter": (f'{HOME}[[mqtt.brokers.home.rules]]\nin = "a/#/b"\n', "it must be a filter of MQTT"),
    "filter-plus": (f'{HOME}[[mqtt.brokers.home.rules]]\nin = "a+/b"\n', "it must be a filter of MQTT"),
    "unknown": (f'{HOME}[[mqtt.brokers.home.rules]]\nin = "a"\nexcpt = []\n', "did you mean"),
    "topic": (f'{HOME}topic = "a/#"\n', "without wildcards"),
    "obeys-what-waited": (
        f'{HOME}allow = ["gpio.*"]\n[[mqtt.brokers.home.rules]]\nin = "#"\n',
        "one takes in what `allow` listens to",
    ),
    "too-many": ("".join(f'[mqtt.brokers.b{n}]\nurl = "mqtt://h"\n' for n in range(17)), "at most 16"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_what_may_not(text: str, words: str) -> None:
    with pytest.raises(SettingsProblem) as refused:
        read(text)
    assert words in str(refused.value)


def test_the_hub_can_change_none_of_it() -> None:
    assert not [key for key in KEYS if key.startswith("mqtt")]


def test_what_was_taken_last_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "broker-home.json"
    taken = Taken(BrokerState.load(path).taken)
    assert not taken.is_old("a", b"1")
    taken.add("a", b"1")
    BrokerState(taken=taken.known, filters=["a"]).save(path)
    again = BrokerState.load(path)
    assert Taken(again.taken).is_old("a", b"1") and not Taken(again.taken).is_old("a", b"2") and again.filters == ["a"]
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"{damaged")
    assert BrokerState.load(path) == BrokerState()


def test_what_is_known_is_bounded() -> None:
    taken = Taken({})
    for number in range(MAX_TOPICS + 5):
        taken.add(f"t/{number}", b"")
    assert len(taken.known) == MAX_TOPICS and not taken.is_old("t/4", b"") and taken.is_old("t/5", b"")
