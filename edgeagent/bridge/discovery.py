"""What Home Assistant is told of a device, so that it shows what is published and what may be asked for, without being configured. Pure.

One retained message describes the whole device (Home Assistant, "MQTT", discovery messages, device discovery payload): ``dev`` is the
device, ``o`` who says so, ``cmps`` its entities by a key that stays. An entity that is gone is mentioned once more with its platform
alone; an empty message takes the whole device away. A microcontroller is a device of its own, "via" ours, because it could be plugged in
elsewhere (developers.home-assistant.io, "Device registry", what is a device?): :mod:`edgeagent.bridge.discoverymcus`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from edgeagent.sample import COUNTER, Sample

__all__ = [
    "MAX_COMPONENTS",
    "REMOVED",
    "Description",
    "Entities",
    "Output",
    "Places",
    "button",
    "components",
    "identified",
    "identifier",
    "message",
    "of_device",
    "sensor",
    "switch",
    "topic",
]

#: Takes a device away.
REMOVED = b""
#: More entities than that are not told: the message stays below what brokers take.
MAX_COMPONENTS = 500
#: UCUM, as samples have it -> (Home Assistant's unit, device class or None). Units that it does not know are shown as they are.
_UNITS: dict[str, tuple[str, str | None]] = {
    "Cel": ("°C", "temperature"),
    "By": ("B", "data_size"),
    "By/s": ("B/s", "data_rate"),
    "s": ("s", "duration"),
    "V": ("V", "voltage"),
    "A": ("A", "current"),
    "W": ("W", "power"),
    "W.h": ("Wh", "energy"),
    "Hz": ("Hz", "frequency"),
    "dBm": ("dBm", "signal_strength"),
    "Pa": ("Pa", "pressure"),
    "hPa": ("hPa", "pressure"),
    "lx": ("lx", "illuminance"),
    "%": ("%", None),
}
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_-]")

#: Entities by a key that stays.
Entities = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Places:
    """device_id: ours. base: below it is all that we publish on this broker. state: where we say ``online``. version: of the agent."""

    device_id: str
    base: str
    state: str
    version: str = ""

    def action(self, name: str) -> str:
        """Where an action is asked for."""
        return f"{self.base}/action/{name}"

    def pin(self, name: str) -> str:
        """Where an output says what it is."""
        return f"{self.base}/gpio/{name}"

    def mcu(self, mcu_id: str) -> str:
        """Where it stands whether a microcontroller is ``online`` or ``offline``."""
        return f"{self.base}/mcu/{mcu_id}/state"

    def switch(self, mcu_id: str, command: str) -> str:
        """Where it stands whether what a microcontroller's command switches is on."""
        return f"{self.base}/mcu/{mcu_id}/switch/{command}"


@dataclass(frozen=True, kw_only=True)
class Output:
    """Something that is on or off. pin: its name in agent.toml."""

    pin: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """A device as Home Assistant is told of it. device: who it is. availability: topics that all have to say ``online``, or it is away."""

    device: Mapping[str, Any]
    availability: tuple[str, ...]
    entities: Entities


def identifier(device_id: str, mcu_id: str = "") -> str:
    """Of a device, or of a microcontroller behind it, to Home Assistant. Ids of ours have no ``_``, so no two are the same."""
    return f"edgeagent_{device_id}_mcu_{mcu_id}" if mcu_id else f"edgeagent_{device_id}"


def topic(prefix: str, device_id: str, mcu_id: str = "") -> str:
    """Where the device, or a microcontroller behind it, is described."""
    return f"{prefix}/device/{_id(identifier(device_id, mcu_id))}/config"


def of_device(places: Places, entities: Entities) -> Description:
    """Our own."""
    device = {"ids": [identifier(places.device_id)], "name": places.device_id, "mf": "edgeagent", "sw": places.version}
    return Description(device=device, availability=(places.state,), entities=entities)


def components(
    places: Places, series: Mapping[str, Sample], outputs: Iterable[Output] = (), buttons: Iterable[str] = ()
) -> Entities:
    """The entities of our own device. series: by the topic where the newest value stands. outputs: those that may be switched.
    buttons: actions that may be asked for and need no arguments."""
    found = [sensor(places, where, sample) for where, sample in series.items()]
    found += [_output(places, output) for output in outputs]
    found += [button(places, name, name) for name in buttons]
    return identified(identifier(places.device_id), found)


def identified(device: str, found: Iterable[tuple[str, dict[str, Any]]]) -> Entities:
    """These entities of the device with that identifier, as many as are told."""
    entities = dict(list(dict(found).items())[:MAX_COMPONENTS])
    return {key: {**entity, "unique_id": f"{_id(device)}_{key}"} for key, entity in entities.items()}


def message(places: Places, wanted: Description, before: Mapping[str, Mapping[str, Any]] = {}) -> bytes:
    """The description. before: the entities that were told last; those that are gone are taken away."""
    gone = {key: {"p": entity["p"]} for key, entity in before.items() if key not in wanted.entities}
    table = {
        "dev": wanted.device,
        "o": {"name": "edgeagent", "sw": places.version},
        "availability": [{"topic": each} for each in wanted.availability],
        "availability_mode": "all",
        "qos": 1,
        "cmps": {**gone, **wanted.entities},
    }
    return msgspec.json.encode(table)


def sensor(places: Places, where: str, sample: Sample, without: str = "") -> tuple[str, dict[str, Any]]:
    """A series, and its key. without: the attribute that everything of the device has."""
    others = (value for name, value in sorted(sample.attributes.items()) if name != without)
    found: dict[str, Any] = {"p": "sensor", "name": " ".join([sample.metric, *others]), "state_topic": where}
    unit, device_class = _UNITS.get(sample.unit, (sample.unit if sample.unit not in ("", "1") else "", None))
    if unit:
        found["unit_of_measurement"] = unit
    if device_class:
        found["device_class"] = device_class
    # Home Assistant accepts no "measurement" for energy, only a sum.
    found["state_class"] = "total_increasing" if sample.kind == COUNTER or device_class == "energy" else "measurement"
    return f"sensor_{_id(where.removeprefix(places.base))}", found


def button(places: Places, name: str, action: str) -> tuple[str, dict[str, Any]]:
    """An action that is asked for without arguments, and its key. name: what it is called."""
    found = {"p": "button", "name": name, "command_topic": places.action(action), "payload_press": "{}"}
    return f"button_{_id(name)}", found


def switch(
    places: Places, name: str, action: str, on: Mapping[str, Any], off: Mapping[str, Any], state: str
) -> tuple[str, dict[str, Any]]:
    """What an action switches with the arguments ``on`` and ``off``, and its key. state: where 1 or 0 stands; empty: nobody knows."""
    found = {
        "p": "switch",
        "name": name,
        "command_topic": places.action(action),
        "payload_on": msgspec.json.encode(on).decode(),
        "payload_off": msgspec.json.encode(off).decode(),
    }
    if state:
        found |= {"state_topic": state, "state_on": "1", "state_off": "0"}
    return f"switch_{_id(name)}", found


def _output(places: Places, output: Output) -> tuple[str, dict[str, Any]]:
    on, off = ({"pin": output.pin, "value": value} for value in (1, 0))
    return switch(places, output.pin, "gpio.write", on, off, places.pin(output.pin))


def _id(text: str) -> str:
    """For keys and topics of discovery, which take only letters, digits, ``_`` and ``-``."""
    return _NOT_IN_ID.sub("_", text).strip("_")
