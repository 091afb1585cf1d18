"""What a broker, and Home Assistant, is told of microcontrollers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent.bridge import discovery, discoverymcus
from edgeagent.bridge.discoverymcus import Microcontroller
from edgeagent.bridge.homeassistant import SETTLE_SECONDS, chosen
from edgeagent.bridge.mcuoutlet import McuOutlet
from edgeagent.bridge.outlet import LOOK_SECONDS, TELL_SECONDS, Outlet
from edgeagent.mcumessages import Act, Hello
from edgeagent.sample import Sample
from tests.support.brokertold import HERE, PLACES, Told

CONFIG = discovery.topic("homeassistant", "pi-1", "oven")
STATE, SWITCH, HEAT = "edgeagent/pi-1/mcu/oven/state", "edgeagent/pi-1/mcu/oven/switch/led", "edgeagent/pi-1/metric/mcu.heat/oven"
SENSOR = "sensor_metric_mcu_heat_oven"
LED, FAN = Act(a="led", sw="on", v="lamp"), Act(a="fan", sw="run")
SAID = Hello(fw="1", hw="Pico", b="x", acts=[LED, FAN, "beep", "update.begin"])


def sample(name: str, value: float, mcu: str = "oven", **more: str) -> Sample:
    return Sample(f"mcu.{name}", value, {"mcu": mcu, **more})


class Rig(Told):
    """One microcontroller, and whoever is told of it."""

    def __init__(self) -> None:
        super().__init__()
        self.mcus = [Microcontroller(id="oven", is_online=True, hello=SAID)]
        self.kept: dict[str, Any] = {}
        self.allowed: set[str] = {"mcu.oven.led", "mcu.oven.fan", "mcu.oven.beep", "mcu.oven.update.begin"}

    def begin(self, prefix: str = "homeassistant") -> Outlet:
        return self.outlet(
            "mcu.*", prefix=prefix, told=self.kept, mcus=lambda: self.mcus, may=lambda action: action in self.allowed
        )

    def passes(self, outlet: Outlet, seconds: float = TELL_SECONDS) -> None:
        outlet.turn()
        self.now += seconds
        outlet.turn()

    @property
    def entities(self) -> set[str]:
        return {key for key, each in self.components_at(CONFIG).items() if "unique_id" in each}


def test_it_is_a_device_via_ours() -> None:
    rig = Rig()
    outlet = rig.begin()
    outlet.offer([sample("heat", 21.5), Sample("mcu.heat", 1, {"mcu": "somebody"})])
    rig.passes(outlet)
    whole = json.loads(rig.there[CONFIG])
    ours = json.loads(rig.there[HERE])
    assert whole["dev"] == {
        "ids": ["edgeagent_pi-1_mcu_oven"],
        "name": "pi-1 oven",
        "sw": "1",
        "hw": "Pico",
        "via_device": ours["dev"]["ids"][0],
    }
    assert whole["availability"] == [{"topic": "edgeagent/pi-1/state"}, {"topic": STATE}]
    assert rig.entities == {"connected", SENSOR, "switch_led", "switch_fan", "button_beep"}
    assert set(ours["cmps"]) == {"sensor_metric_mcu_heat_somebody"}, "of one that is none of the device's"
    assert rig.there[STATE] == b"online"
    identifiers = [each["unique_id"] for table in (whole, ours) for each in table["cmps"].values()]
    assert len(set(identifiers)) == len(identifiers)


def test_commands_that_switch_are_switches_and_others_are_buttons() -> None:
    rig = Rig()
    outlet = rig.begin()
    rig.passes(outlet)
    found = rig.components_at(CONFIG)
    assert found["switch_led"]["command_topic"] == "edgeagent/pi-1/action/mcu.oven.led"
    assert json.loads(found["switch_led"]["payload_off"]) == {"on": 0} and found["switch_led"]["state_topic"] == SWITCH
    assert json.loads(found["switch_fan"]["payload_on"]) == {"run": 1} and "state_topic" not in found["switch_fan"]
    assert found["button_beep"]["payload_press"] == "{}"


def test_a_switch_is_as_the_readings_say_whatever_else_is_published() -> None:
    rig = Rig()
    outlet = rig.outlet(prefix="homeassistant", mcus=lambda: rig.mcus, may=lambda action: True)
    outlet.offer([sample("lamp", 1, room="hall"), sample("lamp", 0, mcu="other")])
    outlet.turn()
    assert rig.there[SWITCH] == b"1" and HEAT not in rig.there
    outlet.offer([sample("lamp", 0)])
    outlet.turn()
    assert rig.there[SWITCH] == b"0"
    count = len(rig.sent)
    outlet.turn()
    assert len(rig.sent) == count, "nothing new"
    outlet.connected()
    outlet.turn()
    assert rig.sent.count(SWITCH) == 3, "a broker may have forgotten it"


@pytest.mark.parametrize(
    ("mcu", "state"),
    [(Microcontroller(id="oven", is_online=True), b"online"), (Microcontroller(id="oven", hello=SAID), b"offline")],
    ids=["there", "away"],
)
def test_whether_it_is_there(mcu: Microcontroller, state: bytes) -> None:
    rig = Rig()
    mine = McuOutlet(rig.publish, PLACES, lambda: [mcu], lambda action: True)
    assert mine.refresh() and not mine.refresh()
    rig.room = 0
    mine.turn()
    assert STATE not in rig.there
    rig.room = 10
    mine.turn()
    assert rig.there[STATE] == state


def test_what_is_not_allowed_is_not_offered() -> None:
    rig = Rig()
    rig.allowed = {"mcu.oven.beep"}
    rig.passes(rig.begin())
    assert rig.entities == {"connected", "button_beep"}
    assert discoverymcus.switches(rig.mcus[0], lambda action: False) == {}


def test_one_that_is_gone_is_taken_away_with_all_that_stands_there() -> None:
    rig = Rig()
    outlet = rig.begin()
    outlet.offer([sample("heat", 1), sample("lamp", 1)])
    rig.passes(outlet)
    rig.mcus = []
    rig.passes(outlet)
    assert {rig.there[each] for each in (CONFIG, STATE, SWITCH, HEAT)} == {b""} and set(rig.kept) == {HERE}
    rig.passes(outlet)
    assert rig.components == {}, "nor is it ours"


def test_a_restart_takes_nothing_away_that_is_only_not_there_yet() -> None:
    rig = Rig()
    first = rig.begin()
    first.offer([sample("heat", 1)])
    rig.passes(first)
    everything = rig.entities

    rig.mcus = [Microcontroller(id="oven")]
    second = rig.begin()
    rig.passes(second, SETTLE_SECONDS * 3)
    rig.passes(second)
    assert rig.entities == everything, "it has not been there since"
    rig.mcus = [Microcontroller(id="oven", is_online=True, hello=Hello(b="y", acts=["beep"]))]
    rig.passes(second)
    assert rig.entities == {"connected", SENSOR, "button_beep"}, "it says itself what it can do"
    rig.now += SETTLE_SECONDS
    for _ in range(3):
        rig.passes(second, LOOK_SECONDS)
    assert rig.entities == {"connected", "button_beep"} and rig.there[HEAT] == b"", "it measures that no more"


def test_a_restart_takes_away_what_is_no_longer_allowed() -> None:
    rig = Rig()
    rig.passes(rig.begin())
    rig.mcus, rig.allowed = [Microcontroller(id="oven")], {"mcu.oven.beep"}
    rig.passes(rig.begin())
    assert rig.entities == {"connected", "button_beep"} and rig.there[SWITCH] == b""


def test_switched_off_it_is_taken_away() -> None:
    rig = Rig()
    rig.passes(rig.begin())
    rig.passes(rig.begin(prefix=""))
    assert rig.there[CONFIG] == rig.there[STATE] == b"" and rig.kept == {}


def test_what_is_to_be_kept_is_said_once() -> None:
    """Each time is a write to the card."""
    rig = Rig()
    outlet = rig.begin()
    assert outlet.turn()
    rig.mcus = [Microcontroller(id="oven", is_online=True, hello=Hello(fw="1", hw="Pico", b="x", seq=9, acts=SAID.acts))]
    for _ in range(3):
        rig.now += TELL_SECONDS
        assert not outlet.turn(), "a number in its hello is nothing to Home Assistant"
    rig.mcus = []
    assert not outlet.turn()
    rig.now += TELL_SECONDS
    assert outlet.turn()


def test_metrics_are_chosen_by_globs() -> None:
    assert chosen(["a.*", "b"])("a.b") and not chosen(["a.*", "b"])("c")
