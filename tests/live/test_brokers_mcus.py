"""Microcontrollers to a Home Assistant on the other side of a real mosquitto: as devices of their own, switched by what they are described as."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent.assembly.device import Agent
from edgeagent.bridge import outlet
from tests.support.brokerpi import Pi, waiting
from tests.support.fleet import cli
from tests.support.looped import Looped
from tests.support.mosquitto import Mosquitto, Other, running
from tests.support.servers import until

TEXT = 'publish = ["mcu.temperature"]\nallow = ["mcu.*"]\nhome_assistant = true\n'
ALLOW = '[commands]\nallow = ["mcu.greenhouse.*"]\n'
CONFIG = "homeassistant/device/edgeagent_pi-1_mcu_greenhouse/config"
LED = {"a": "led", "sw": "on", "v": "led"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "TELL_SECONDS", 0.2)


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with running(tmp_path / "broker") as broker:
        yield broker


class Greenhouse(Looped):
    """It has a lamp and a horn, and says at once what it has switched."""

    def __init__(self, agent: Agent, *acts: Any) -> None:
        super().__init__(agent.mcus.mcus, "greenhouse", actions=acts)
        self.answer = self._obey

    def _obey(self, action: str, args: dict[str, Any]) -> dict[str, Any]:
        if action == "led":
            self.measure(led=bool(args["on"]), room="hall")
        return {"ok": True}


def entities(ha: Other) -> dict[str, Any]:
    """What Home Assistant knows of the microcontroller."""
    found = ha.of(CONFIG)
    cmps: dict[str, Any] = json.loads(found[-1])["cmps"] if found and found[-1] else {}
    return {key: each for key, each in cmps.items() if "unique_id" in each}


async def has(ha: Other, *keys: str) -> None:
    await until(lambda: set(entities(ha)) == set(keys), f"it is described with {keys}")


async def said(pi: Pi, *words: str) -> None:
    done = await asyncio.to_thread(cli, "mcu", *words, "--settings", str(pi.file))
    assert done.code == 0, done


async def test_a_microcontroller_is_a_device_of_its_own_that_is_switched(broker: Mosquitto, tmp_path: Path) -> None:
    """As Home Assistant does it: by what the description says, and nothing else."""
    pi = Pi(tmp_path, broker, TEXT, ALLOW)
    async with Other(broker.port, "homeassistant/#", "edgeagent/#") as ha, pi.running() as agent:
        await said(pi, "add", "greenhouse")
        await has(ha, "connected")
        state = entities(ha)["connected"]["state_topic"]
        await until(lambda: ha.of(state)[-1:] == [b"offline"], "it is not there yet")

        greenhouse = Greenhouse(agent, LED, "beep", "Not A Name")
        greenhouse.measure(temperature=21.5)
        sensor = "sensor_metric_mcu_temperature_greenhouse"
        await has(ha, "connected", "switch_led", "button_beep", sensor)
        await until(lambda: ha.of(state)[-1:] == [b"online"], "it is there")
        whole = json.loads(ha.of(CONFIG)[-1])
        assert whole["dev"]["via_device"] == "edgeagent_pi-1" and whole["dev"]["sw"] == "1.2.0"
        assert {each["topic"] for each in whole["availability"]} == {"edgeagent/pi-1/state", state}
        assert whole["availability_mode"] == "all" and entities(ha)[sensor]["name"] == "temperature"
        assert ha.of(entities(ha)[sensor]["state_topic"]) == [b"21.5"]

        switch, button = entities(ha)["switch_led"], entities(ha)["button_beep"]
        for payload, shown in (("payload_on", "state_on"), ("payload_off", "state_off")):
            await ha.say(switch["command_topic"], switch[payload])
            await until(lambda word=switch[shown]: ha.of(switch["state_topic"])[-1:] == [word.encode()], "and said to be")
        await ha.say(button["command_topic"], button["payload_press"])
        await until(lambda: len(greenhouse.done) == 3, "all was done")
        assert [(action, args) for _, action, args in greenhouse.done] == [("led", {"on": 1}), ("led", {"on": 0}), ("beep", {})]
        await until(lambda: len(waiting(agent)) == 3, "and each is told")
        assert {each["action"] for each in waiting(agent)} == {"mcu.greenhouse.led", "mcu.greenhouse.beep"}

        agent.mcus.mcus.detach("greenhouse", greenhouse, "unplugged")
        await until(lambda: ha.of(state)[-1:] == [b"offline"], "it is gone")
        await said(pi, "rm", "greenhouse")
        await until(lambda: ha.of(CONFIG)[-1:] == [b""], "it is no device any more")
        for where in (state, switch["state_topic"], "edgeagent/pi-1/metric/mcu.temperature/greenhouse"):
            await until(lambda where=where: ha.of(where)[-1:] == [b""], f"{where} is taken away")


async def test_what_it_can_do_comes_and_goes_with_its_firmware_and_not_with_the_agent(broker: Mosquitto, tmp_path: Path) -> None:
    pi = Pi(tmp_path, broker, TEXT, ALLOW)
    async with Other(broker.port, "homeassistant/#") as ha:
        async with pi.running() as agent:
            await said(pi, "add", "greenhouse")
            await said(pi, "add", "other")
            greenhouse = Greenhouse(agent, LED, "beep")
            await has(ha, "connected", "switch_led", "button_beep")
            greenhouse.actions = [LED]
            greenhouse.hello()
            await has(ha, "connected", "switch_led")
            Looped(agent.mcus.mcus, "other", actions=["beep"])
            other = "homeassistant/device/edgeagent_pi-1_mcu_other/config"
            await until(lambda: ha.of(other) != [], "another one is told")
            assert set(json.loads(ha.of(other)[-1])["cmps"]) == {"connected"}, "what agent.toml does not allow is not"
        before = len(ha.of(CONFIG))
        async with pi.running():
            await until(lambda: len(ha.of(CONFIG)) > before, "it is described anew")
            await has(ha, "connected", "switch_led")
        pi.write(TEXT)
        async with pi.running():
            await has(ha, "connected")
