"""From the topics and payloads of somebody else's broker to samples, and to subjects of the leaf. Pure.

What the devices of others publish, as their own documentation has it:

* Zigbee2MQTT ("MQTT topics and messages"): ``zigbee2mqtt/<friendly name>``, a JSON object; a friendly name may have slashes and spaces.
  ``bridge/#`` below its base topic, and ``/availability``, ``/set`` and ``/get`` below a name, are no measurements.
* Tasmota ("MQTT"): ``tele/<device>/SENSOR``, a JSON object in an object for each sensor.
* ESPHome, Shelly: a number, or ``on`` and ``off``, for each topic: ``<device>/sensor/<name>/state``, ``shellies/<device>/relay/0/power``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from edgeagent.errors import UsageProblem
from edgeagent.sample import MAX_ATTRIBUTE, MAX_NAME, MAX_PAYLOAD_BYTES, Sample

__all__ = ["MAX_SAMPLES", "Rule", "data_topic", "fitting", "is_below", "samples", "series_topic", "wildcards"]

#: How much of one message is taken: so many samples, and objects in objects so deep.
MAX_SAMPLES, MAX_DEPTH = 64, 4
#: A subject has at most so many tokens, and characters, and a token so many.
MAX_TOKENS, MAX_SUBJECT, MAX_TOKEN = 16, 200, 64
#: What follows the name of a device where a topic is none of its measurements (Zigbee2MQTT).
_NO_MEASUREMENT = frozenset({"set", "get", "availability"})
_BRIDGE = "bridge"
_NOT_IN_NAME, _NOT_IN_TOKEN = re.compile(r"[^A-Za-z0-9_:-]"), re.compile(r"[^A-Za-z0-9_-]")
_SWITCHED = {"on": 1, "true": 1, "off": 0, "false": 0}
_WHAT = "read a message of the broker"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """filter, exceptions: of MQTT. prefix: of the metrics; empty: the filter's first word, and where it has none the topic's. device: levels of the topic that name the
    device, from 1; empty: those that the wildcards stand for. as_data: the messages themselves are wanted."""

    filter: str
    exceptions: tuple[str, ...] = ()
    prefix: str = ""
    device: tuple[int, ...] = ()
    as_data: bool = False

    @property
    def name(self) -> str:
        """What its metrics begin with; empty: the first word of the topic."""
        first = next((word for word in self.filter.split("/") if word not in ("", "+", "#")), "")
        return self.prefix or (_named(first) if first else "")


def wildcards(topic_filter: str, topic: str) -> list[int] | None:
    """The levels of the topic, from 0, that the filter's wildcards stand for; None: the topic does not fit (MQTT 3.1.1, 4.7)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return None
    found: list[int] = []
    for index, word in enumerate(wanted):
        if word == "#":
            return found + list(range(index, len(levels)))
        if index >= len(levels) or word not in ("+", levels[index]):
            return None
        if word == "+":
            found.append(index)
    return found if len(wanted) == len(levels) else None


def is_below(base: str, topic: str) -> bool:
    """Whether it is ``base`` itself, or below it."""
    return topic == base or topic.startswith(f"{base}/")


def fitting(rules: list[Rule], topic: str) -> Rule | None:
    """The first rule that takes this topic."""
    for rule in rules:
        excepted = any(wildcards(each, topic) is not None for each in rule.exceptions)
        if not excepted and wildcards(rule.filter, topic) is not None:
            return rule
    return None


def samples(rule: Rule, topic: str, payload: bytes) -> list[Sample]:
    """What is measured in a message that the rule takes; nothing where there is no number in it. Raises UsageProblem for what can't be
    read."""
    levels, free = topic.split("/"), wildcards(rule.filter, topic) or []
    name = rule.name or _named(levels[0])
    if not rule.name and not rule.device:
        free = free[1:]
    words = [levels[index] for index in free]
    if not payload.strip() or (rule.filter.endswith("#") and _is_no_measurement(words)):
        return []
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise UsageProblem(_WHAT, f"{len(payload)} bytes are too many", f"at most {MAX_PAYLOAD_BYTES} are read")
    value = _value(payload)
    whole = isinstance(value, dict)
    device = [level - 1 for level in rule.device if level <= len(levels)] or (free if whole else free[:1])
    attributes = {"device": "/".join(levels[index] for index in device)[:MAX_ATTRIBUTE]} if device else {}
    names = [name, *(levels[index] for index in free if index not in device)]
    return list(_samples(names, value, attributes, 0))[:MAX_SAMPLES]


def _is_no_measurement(words: list[str]) -> bool:
    return words[:1] == [_BRIDGE] or any(word in _NO_MEASUREMENT for word in words[1:])


def _value(payload: bytes) -> Any:
    """A number, a boolean or a table. Raises UsageProblem."""
    try:
        text = payload.decode().strip()
        if text.lower() in _SWITCHED:
            return _SWITCHED[text.lower()]
        found = msgspec.json.decode(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError and msgspec's are ValueErrors too
        found = None
    if not isinstance(found, (int, float, dict)):
        raise UsageProblem(_WHAT, "it is no number, no `on` or `off`, and no JSON object")
    return found


def _samples(names: list[str], value: Any, attributes: dict[str, str], depth: int) -> Iterator[Sample]:
    if isinstance(value, dict):
        for key, inner in value.items() if depth < MAX_DEPTH else ():
            yield from _samples([*names, str(key)], inner, attributes, depth + 1)
    elif isinstance(value, (int, float)):
        try:
            yield Sample(_metric(names), int(value) if isinstance(value, bool) else value, attributes)
        except ValueError:
            return  # a number that nothing can hold


def _metric(names: list[str]) -> str:
    return ".".join([names[0], *(_NOT_IN_NAME.sub("_", name) or "_" for name in names[1:])])[:MAX_NAME]


def _named(word: str) -> str:
    """The word as the beginning of a metric's name."""
    found = _NOT_IN_NAME.sub("_", word) or "_"
    return found if not found[0].isdigit() and found[0] not in ":-" else f"_{found}"


def data_topic(broker: str, topic: str) -> str:
    """Where a message of the broker is kept as it is, below ``local.data``: its levels as tokens of a subject."""
    tokens = [_NOT_IN_TOKEN.sub("_", level)[:MAX_TOKEN] or "_" for level in topic.split("/")[:MAX_TOKENS]]
    return f"mqtt.{broker}.{'.'.join(tokens)[:MAX_SUBJECT].rstrip('.')}"


def series_topic(base: str, sample: Sample) -> str:
    """Where the newest value of a series is published: the metric, and the values of its attributes in the order of their names."""
    parts = [sample.metric, *(value for _, value in sorted(sample.attributes.items()))]
    return "/".join([base, "metric", *(re.sub(r"[/+#\x00-\x1f]", "_", part) or "_" for part in parts)])
