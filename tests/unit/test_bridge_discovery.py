"""What Home Assistant is told, and when it is taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent.bridge import discovery
from edgeagent.bridge.discovery import Output
from edgeagent.bridge.outlet import MAX_SERIES, MAX_TURN, SETTLE_SECONDS, TELL_SECONDS
from edgeagent.sample import Sample
from tests.support.brokertold import HERE, PLACES, Told

CPU, LOAD = Sample("system.cpu.utilization", 0.5, unit="1"), Sample("mcu.temperature", 21.5, {"mcu": "m 1"}, unit="Cel")


def test_a_device_is_described() -> None:
    told = Told()
    outlet = told.outlet(
        "system.*", "mcu.*", prefix="homeassistant", outputs=lambda: {"lamp": 1, "relay": None}, buttons=["agent.reload"]
    )
    outlet.offer([CPU, LOAD, Sample("other", 1)])
    outlet.turn()
    assert told.there["edgeagent/pi-1/metric/system.cpu.utilization"] == b"0.5"
    assert told.there["edgeagent/pi-1/metric/mcu.temperature/m 1"] == b"21.5"
    assert told.there["edgeagent/pi-1/gpio/lamp"] == b"1" and not any("other" in topic for topic in told.there)
    found = json.loads(told.there[HERE])
    assert found["dev"] == {"ids": ["edgeagent_pi-1"], "name": "pi-1", "mf": "edgeagent", "sw": "1"} and found["o"]["name"]
    assert found["availability"] == [{"topic": "edgeagent/pi-1/state"}] and found["availability_mode"] == "all"
    by_platform = {each["p"]: each for each in found["cmps"].values()}
    assert {each["p"] for each in found["cmps"].values()} == {"sensor", "switch", "button"} and len(found["cmps"]) == 5
    assert len({each["unique_id"] for each in found["cmps"].values()}) == 5
    assert by_platform["button"]["command_topic"] == "edgeagent/pi-1/action/agent.reload"
    sensor = found["cmps"]["sensor_metric_mcu_temperature_m_1"]
    assert (sensor["unit_of_measurement"], sensor["device_class"], sensor["state_class"]) == ("°C", "temperature", "measurement")
    assert "unit_of_measurement" not in found["cmps"]["sensor_metric_system_cpu_utilization"]
    switch = found["cmps"]["switch_lamp"]
    assert switch["command_topic"] == "edgeagent/pi-1/action/gpio.write"
    assert json.loads(switch["payload_on"]) == {"pin": "lamp", "value": 1}


def test_new_series_are_told_together_and_not_at_once() -> None:
    told = Told()
    outlet = told.outlet("*", prefix="homeassistant")
    outlet.turn()
    assert told.components == {}
    outlet.offer([CPU])
    outlet.turn()
    assert told.components == {}
    told.now += TELL_SECONDS
    outlet.turn()
    assert len(told.components) == 1
    outlet.offer([CPU])
    told.now += TELL_SECONDS
    count = told.sent.count(HERE)
    outlet.turn()
    assert told.sent.count(HERE) == count, "nothing new"


def test_after_a_restart_what_is_gone_is_taken_away() -> None:
    told, kept = Told(), dict[str, Any]()
    first = told.outlet("*", prefix="homeassistant", told=kept, buttons=["a.b"])
    first.offer([CPU, LOAD])
    first.turn()
    assert len(told.components) == 3 and set(kept) == {HERE}

    second = told.outlet("system.*", prefix="homeassistant", told=kept)
    second.turn()
    assert told.components["button_a_b"] == {"p": "button"} and told.components["sensor_metric_mcu_temperature_m_1"] == {
        "p": "sensor"
    }
    assert told.there["edgeagent/pi-1/metric/mcu.temperature/m 1"] == b"", "its retained value goes too"
    assert "unique_id" in told.components["sensor_metric_system_cpu_utilization"], "it will be measured again"
    told.now += SETTLE_SECONDS + 1
    for _ in range(3):
        second.turn()
        told.now += TELL_SECONDS
    assert told.components == {"sensor_metric_system_cpu_utilization": {"p": "sensor"}}, "it was not"
    assert kept == {HERE: {}}


@pytest.mark.parametrize("prefix", ["", "ha"], ids=["off", "elsewhere"])
def test_switched_off_or_told_elsewhere(prefix: str) -> None:
    told, kept = Told(), dict[str, Any]()
    first = told.outlet("*", prefix="homeassistant", told=kept)
    first.offer([CPU])
    first.turn()
    assert told.there[HERE]
    told.room = 0
    second = told.outlet("*", prefix=prefix, told=kept)
    second.turn()
    assert HERE in kept, "there was no room to say it"
    told.room, told.now = 100, told.now + TELL_SECONDS
    second.turn()
    assert told.there[HERE] == discovery.REMOVED
    assert set(kept) == ({f"{prefix}/device/edgeagent_pi-1/config"} if prefix else set())


def test_the_newest_value_waits_for_room() -> None:
    told = Told()
    outlet = told.outlet("*")
    told.room = 0
    for value in range(3):
        outlet.offer([Sample("a", value), Sample("b", value)])
        outlet.turn()
    told.room = 100
    outlet.turn()
    assert told.there == {"edgeagent/pi-1/metric/a": b"2", "edgeagent/pi-1/metric/b": b"2"} and len(told.sent) == 2


def test_series_and_pace_are_bounded() -> None:
    told = Told()
    outlet = told.outlet("*")
    outlet.offer([Sample(f"m{number}", 1) for number in range(MAX_SERIES + 7)])
    assert outlet.left_out == 7
    outlet.turn()
    assert len(told.sent) == MAX_TURN


def test_outputs_are_told_when_they_change_and_after_each_connect() -> None:
    told, pins = Told(), dict[str, int | None](lamp=0)
    outlet = told.outlet(outputs=lambda: pins)
    for _ in range(2):
        outlet.turn()
    assert told.sent == ["edgeagent/pi-1/gpio/lamp"]
    pins["lamp"] = 1
    outlet.turn()
    assert told.there["edgeagent/pi-1/gpio/lamp"] == b"1"
    outlet.connected()
    outlet.turn()
    assert len(told.sent) == 3


def test_a_description_is_bounded() -> None:
    many = {f"t/{number}": Sample(f"m{number}", 1) for number in range(1000)}
    found = discovery.components(PLACES, many, [Output(pin="p")])
    assert len(found) == discovery.MAX_COMPONENTS
    assert len(discovery.message(PLACES, discovery.of_device(PLACES, found))) < 256_000
    assert discovery.topic("homeassistant", "pi-1") == HERE
