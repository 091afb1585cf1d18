"""What Home Assistant is told of a microcontroller: what it measures, and which of its commands may be asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from edgeagent.bridge.discovery import Description, Entities, Places, button, identified, identifier, sensor, switch
from edgeagent.mcumessages import UPDATES, Act, Hello
from edgeagent.sample import Sample

__all__ = ["Microcontroller", "action_of", "described", "entities", "switches"]

#: The attribute of its samples that names it, and what their metrics begin with.
ATTRIBUTE, METRICS = "mcu", "mcu."


@dataclass(frozen=True, kw_only=True)
class Microcontroller:
    """One of the device. is_online: it speaks. hello: what it says of itself; None: nothing since the agent started."""

    id: str
    is_online: bool = False
    hello: Hello | None = None

    @property
    def commands(self) -> list[Act]:
        return self.hello.commands if self.hello else []


def action_of(mcu_id: str, command: str) -> str:
    """The action that has it do that."""
    return f"mcu.{mcu_id}.{command}"


def entities(places: Places, mcu: Microcontroller, series: Mapping[str, Sample], may: Callable[[str], bool]) -> Entities:
    """Its entities. series: of it, by the topic where the newest value stands. may: whether an action may be asked for."""
    found = [_connected(places, mcu.id)]
    for where, sample in series.items():
        short = msgspec.structs.replace(sample, metric=sample.metric.removeprefix(METRICS))
        found.append(sensor(places, where, short, without=ATTRIBUTE))
    wanted = [each for each in mcu.commands if not each.a.startswith(UPDATES)]
    found += [_command(places, mcu.id, each) for each in wanted if may(action_of(mcu.id, each.a))]
    return identified(identifier(places.device_id, mcu.id), found)


def described(places: Places, mcu: Microcontroller, its: Entities) -> Description:
    """The whole of it. its: the entities."""
    hello = mcu.hello or Hello()
    versions = {key: value for key, value in (("sw", hello.fw), ("hw", hello.hw)) if value}
    name = {"ids": [identifier(places.device_id, mcu.id)], "name": f"{places.device_id} {mcu.id}"}
    device = {**name, **versions, "via_device": identifier(places.device_id)}
    return Description(device=device, availability=(places.state, places.mcu(mcu.id)), entities=its)


def switches(mcu: Microcontroller, may: Callable[[str], bool]) -> dict[str, str]:
    """Commands that switch something of which a value of the readings says how it is: command -> the metric of that."""
    found = [each for each in mcu.commands if each.sw and each.v and may(action_of(mcu.id, each.a))]
    return {each.a: f"{METRICS}{each.v}" for each in found}


def _connected(places: Places, mcu_id: str) -> tuple[str, dict[str, Any]]:
    return "connected", {
        "p": "binary_sensor",
        "name": "connected",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": places.mcu(mcu_id),
        "payload_on": "online",
        "payload_off": "offline",
        "availability": [{"topic": places.state}],  # that it is away is what this one says
    }


def _command(places: Places, mcu_id: str, act: Act) -> tuple[str, dict[str, Any]]:
    action = action_of(mcu_id, act.a)
    if not act.sw:
        return button(places, act.a, action)
    return switch(places, act.a, action, {act.sw: 1}, {act.sw: 0}, places.switch(mcu_id, act.a) if act.v else "")
