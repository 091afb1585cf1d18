"""From topics and payloads of others to samples, with the shapes that their documentation shows."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from edgeagent.bridge.mapping import (
    MAX_SAMPLES,
    Rule,
    data_topic,
    fitting,
    is_below,
    samples,
    series_topic,
    wildcards,
)
from edgeagent.errors import UsageProblem
from edgeagent.localsubjects import local_data
from edgeagent.sample import MAX_PAYLOAD_BYTES, Sample
from edgeagent.subjects import is_token

ZIGBEE = Rule(filter="zigbee2mqtt/#", exceptions=("zigbee2mqtt/bridge/#",))

#: id -> (rule, topic, payload, {(metric, device): value})
SHAPES: dict[str, tuple[Rule, str, Any, dict[tuple[str, str], float]]] = {
    "zigbee-sensor": (
        ZIGBEE,
        "zigbee2mqtt/kitchen",
        {"temperature": 27.34, "humidity": 44, "occupancy": True, "action": "single", "last_seen": "2026-11-22T10:00:00+00:00"},
        {
            ("zigbee2mqtt.temperature", "kitchen"): 27.34,
            ("zigbee2mqtt.humidity", "kitchen"): 44,
            ("zigbee2mqtt.occupancy", "kitchen"): 1,
        },
    ),
    "zigbee-slashes-and-spaces": (
        ZIGBEE,
        "zigbee2mqtt/Küche/floor light",
        {"color": {"x": 0.1, "hue": None}, "brightness": 215, "update": {"state": "idle"}},
        {("zigbee2mqtt.color.x", "Küche/floor light"): 0.1, ("zigbee2mqtt.brightness", "Küche/floor light"): 215},
    ),
    "zigbee-only-texts": (ZIGBEE, "zigbee2mqtt/switch", {"action": "single"}, {}),
    "zigbee-availability": (ZIGBEE, "zigbee2mqtt/a b/c/availability", {"state": "online", "n": 1}, {}),
    "zigbee-set": (ZIGBEE, "zigbee2mqtt/lamp/set", {"brightness": 1}, {}),
    "zigbee-set-one": (ZIGBEE, "zigbee2mqtt/lamp/set/brightness", 5, {}),
    "zigbee-get": (ZIGBEE, "zigbee2mqtt/lamp/get", {"state": ""}, {}),
    "zigbee-bridge": (Rule(filter="zigbee2mqtt/#"), "zigbee2mqtt/bridge/info", {"n": 1}, {}),
    "tasmota": (
        Rule(filter="tele/+/SENSOR", prefix="tasmota"),
        "tele/TH16/SENSOR",
        {"Time": "2018-03-02T18:25:03", "AM2301": {"Temperature": 22.6, "Humidity": 32.4}, "TempUnit": "C"},
        {("tasmota.AM2301.Temperature", "TH16"): 22.6, ("tasmota.AM2301.Humidity", "TH16"): 32.4},
    ),
    "tasmota-power": (Rule(filter="stat/+/POWER"), "stat/TH16/POWER", "ON", {("stat", "TH16"): 1}),
    "esphome": (
        Rule(filter="+/sensor/+/state"),
        "porch/sensor/out side/state",
        "21.5",
        {("sensor.out_side", "porch"): 21.5},
    ),
    "shelly": (
        Rule(filter="shellies/#"),
        "shellies/shelly1-abc/relay/0/power",
        "12.25",
        {("shellies.relay.0.power", "shelly1-abc"): 12.25},
    ),
    "shelly-relay": (Rule(filter="shellies/#"), "shellies/s/relay/0", "off", {("shellies.relay.0", "s"): 0}),
    "named-level": (
        Rule(filter="home/#", prefix="h", device=(2, 3)),
        "home/floor1/room2/air",
        {"co2": 400},
        {("h.air.co2", "floor1/room2"): 400},
    ),
    "no-word-in-the-filter": (Rule(filter="#"), "oven/top", "200", {("oven", "top"): 200}),
    "no-word-and-levels": (Rule(filter="+/+/+"), "oven/top/heat", {"now": 3}, {("oven.now", "top/heat"): 3}),
    "one-word": (Rule(filter="#"), "oven", "200", {("oven", ""): 200}),
    "whole-topic": (Rule(filter="3d printer/temp"), "3d printer/temp", " -1e3 ", {("_3d_printer", ""): -1000.0}),
    "true": (Rule(filter="a/+"), "a/b", "true", {("a", "b"): 1}),
    "empty": (Rule(filter="a/+"), "a/b", "", {}),
    "empty-object": (Rule(filter="a/+"), "a/b", {}, {}),
    "keys-of-any-kind": (
        Rule(filter="a/+"),
        "a/b",
        {"é ü": 1, "": 2, "1st": 3, "a.b": 4},
        {("a.___", "b"): 1, ("a._", "b"): 2, ("a.1st", "b"): 3, ("a.a_b", "b"): 4},
    ),
}


def payload_of(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@pytest.mark.parametrize(("rule", "topic", "payload", "wanted"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes(rule: Rule, topic: str, payload: Any, wanted: dict[tuple[str, str], float]) -> None:
    found = samples(rule, topic, payload_of(payload))
    assert {(each.metric, each.attributes.get("device", "")): each.value for each in found} == wanted


def test_what_no_number_holds_is_left_out() -> None:
    found = samples(Rule(filter="a/+"), "a/b", b'{"huge": 99999999999999999999, "fits": 1}')
    assert ("a.fits", 1) in [(each.metric, each.value) for each in found]


@pytest.mark.parametrize(
    "payload",
    [b"hello", b"\xff\xfe", b"[1, 2]", b'"text"', b"null", b"{", b"x" * 10, b"1" * (MAX_PAYLOAD_BYTES + 1), b"[" * 20000],
    ids=["text", "bytes", "list", "string", "null", "torn", "word", "large", "deep"],
)
def test_what_cannot_be_read(payload: bytes) -> None:
    with pytest.raises(UsageProblem):
        samples(Rule(filter="a/+"), "a/b", payload)


def test_a_message_is_taken_to_a_bound() -> None:
    many = {f"k{number}": number for number in range(1000)}
    assert len(samples(ZIGBEE, "zigbee2mqtt/x", json.dumps(many).encode())) == MAX_SAMPLES
    deep: dict[str, Any] = {"v": 1}
    for _ in range(100):
        deep = {"d": deep, "v": 1}
    assert [each.metric for each in samples(ZIGBEE, "zigbee2mqtt/x", json.dumps(deep).encode())] == [
        "zigbee2mqtt.d.d.d.v",
        "zigbee2mqtt.d.d.v",
        "zigbee2mqtt.d.v",
        "zigbee2mqtt.v",
    ]
    (one,) = samples(Rule(filter="a/#"), f"a/{'x' * 60000}", b'{"v": 1}')
    assert len(one.attributes["device"]) == 200


def test_no_bytes_break_it() -> None:
    draw = random.Random(7)
    for _ in range(3000):
        payload = bytes(draw.choice(b'{}[]":,.-+eE0123456789 truefalsnonoff\xff\x00\\u') for _ in range(draw.randint(0, 40)))
        topic = "".join(draw.choice("a/b +#.\u00e9") for _ in range(draw.randint(1, 20)))
        try:
            found = samples(Rule(filter="#"), topic, payload)
        except UsageProblem:
            continue
        assert all(isinstance(each, Sample) for each in found)


#: (filter, topic) -> the levels that the wildcards stand for; the examples of MQTT 3.1.1, 4.7.
MATCHES: dict[tuple[str, str], list[int] | None] = {
    ("sport/tennis/player1/#", "sport/tennis/player1"): [],
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"): [3, 4],
    ("sport/#", "sport"): [],
    ("#", "a/b"): [0, 1],
    ("sport/tennis/+", "sport/tennis/player1"): [2],
    ("sport/tennis/+", "sport/tennis/player1/ranking"): None,
    ("sport/+", "sport"): None,
    ("sport/+", "sport/"): [1],
    ("+/+", "/finance"): [0, 1],
    ("/+", "/finance"): [1],
    ("+", "/finance"): None,
    ("#", "$SYS/broker"): None,
    ("+/broker", "$SYS/broker"): None,
    ("$SYS/#", "$SYS/broker"): [1],
    ("a/b", "a/b"): [],
    ("a/b", "a/b/c"): None,
}


@pytest.mark.parametrize(("given", "wanted"), MATCHES.items(), ids=lambda value: str(value))
def test_filters(given: tuple[str, str], wanted: list[int] | None) -> None:
    assert wildcards(*given) == wanted


def test_the_first_rule_that_fits_counts() -> None:
    data = Rule(filter="zigbee2mqtt/+/raw", as_data=True)
    rules = [data, ZIGBEE]
    assert fitting(rules, "zigbee2mqtt/x/raw") is data
    assert fitting(rules, "zigbee2mqtt/x") is ZIGBEE
    assert fitting(rules, "zigbee2mqtt/bridge/state") is None and fitting(rules, "other") is None


@pytest.mark.parametrize(
    "topic", ["a/b", "/lead", "a//b", "a.b/*/>", "ä/ö ü", "x/" * 50, "y" * 5000, "a/.", "$x"], ids=lambda topic: topic[:8]
)
def test_a_topic_becomes_tokens_of_a_subject(topic: str) -> None:
    subject = local_data(data_topic("home", topic))
    assert all(is_token(token) for token in subject.split(".")) and len(subject) < 300


def test_where_a_series_is_published() -> None:
    assert series_topic("edgeagent/pi-1", Sample("system.cpu.utilization", 0.5)) == "edgeagent/pi-1/metric/system.cpu.utilization"
    sample = Sample("m", 1, {"b": "x/y#", "a": "+"})
    assert series_topic("base", sample) == "base/metric/m/_/x_y_"
    assert is_below("a/b", "a/b") and is_below("a/b", "a/b/c") and not is_below("a/b", "a/bc")
