"""The MQTT brokers that a device's owner already has: the tables ``[mqtt.brokers.<name>]`` of agent.toml.

The hub can't change them: they name passwords, and what somebody else's broker may ask this device for.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from edgeagent.bridge.mapping import wildcards

__all__ = ["BROKER_NAME", "BrokerSettings", "RuleSettings"]

BROKER_NAME = r"^[a-z][a-z0-9_-]{0,31}\Z"
#: Filters of MQTT 3.1.1, 4.7.1: ``+`` stands for a whole level, ``#`` for all that follow.
_FILTER = r"^(?=.{1,500}\Z)([^+#\x00-\x1f]*|\+)(/([^+#\x00-\x1f]*|\+))*(/#)?\Z|^#\Z"
_TOPIC = r"^(?=.{1,200}\Z)[^+#\x00-\x1f/$][^+#\x00-\x1f/]*(/[^+#\x00-\x1f/]+)*\Z"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_URL = re.compile(r"(mqtts?)://(\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)(:[0-9]{1,5})?/?\Z")

_Filter = Annotated[str, Meta(pattern=_FILTER, extra={"form": "a filter of MQTT such as `zigbee2mqtt/#`"})]
_Topic = Annotated[str, Meta(pattern=_TOPIC, extra={"form": "a topic of MQTT without wildcards"})]
_OrNoTopic = Annotated[str, Meta(pattern=f"^\\Z|{_TOPIC}", extra={"form": "a topic of MQTT without wildcards"})]
_Glob = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_.:/*?-]{1,200}\Z", extra={"form": "a name, in which * stands for any characters"})
]
_Prefix = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z_][A-Za-z0-9_.-]{0,99})?\Z",
        extra={"form": "letters, digits, '_', '.' and '-', not beginning with a digit"},
    ),
]


class RuleSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"in_": "in", "except_": "except", "as_": "as"},
):
    in_: Annotated[_Filter, Meta(description="What is taken from the broker, a filter such as `zigbee2mqtt/#`.")]
    except_: Annotated[
        list[_Filter], Meta(description='What is not, though it is below that: `["zigbee2mqtt/bridge/#"]`.', max_length=32)
    ] = []
    as_: Annotated[
        Literal["samples", "data"],
        Meta(description="`samples`: its numbers, as metrics. `data`: the message as it is, for the hub."),
    ] = "samples"
    name: Annotated[_Prefix, Meta(description="What the names of the metrics begin with. Empty: the first word of `in`.")] = ""
    device: Annotated[
        list[Annotated[int, Meta(ge=1, le=32)]],
        Meta(
            description="Which levels of the topic name the device, counted from 1. Empty: those that the wildcards of `in` stand for.",
            max_length=8,
        ),
    ] = []


def _check_url(url: str) -> None:
    found = _URL.match(url)
    if not found or (found[3] is not None and not 0 < int(found[3][1:]) < 65536):
        raise ValueError(
            f"url = {url[:100]!r}: it must be an address such as mqtt://192.168.1.2:1883 or mqtts://broker.example:8883"
        )


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(description="`mqtt://host:1883`, or `mqtts://host:8883` with TLS.")]
    user: Annotated[str, Meta(description="Our name there. Empty: the broker lets in whoever comes.", max_length=256)] = ""
    password_file: Annotated[
        str,
        Meta(
            description="File with the password and nothing else; it is read at each connect. A relative path counts from agent.toml."
        ),
    ] = ""
    ca_file: Annotated[
        str,
        Meta(
            description="File with the authorities to trust for `mqtts://`, PEM. Empty: the system's. A relative path counts from agent.toml."
        ),
    ] = ""
    client_id: Annotated[
        str,
        Meta(
            description="Who we are to the broker, which keeps what comes for us under it: no other client may have the same. Empty: `edgeagent-<device id>`.",
            max_length=128,
        ),
    ] = ""
    keepalive_seconds: Annotated[
        int, Meta(description="A broker that is silent is given up after twice that.", ge=2, le=3600)
    ] = 30
    queue: Annotated[
        int,
        Meta(description="How many messages may wait for the broker; what has no room is dropped, and counted.", ge=10, le=50000),
    ] = 1000
    rules: Annotated[
        list[RuleSettings],
        Meta(
            description="What is taken from the broker, each a table `[[mqtt.brokers.<name>.rules]]`. The first that fits counts.",
            max_length=32,
        ),
    ] = []
    publish: Annotated[
        list[_Glob],
        Meta(
            description='Metrics that the broker gets, each with its newest value: `["system.cpu.utilization", "mcu.*"]`.',
            max_length=64,
        ),
    ] = []
    topic: Annotated[_OrNoTopic, Meta(description="Below what we publish. Empty: `edgeagent/<device id>`.")] = ""
    allow: Annotated[
        list[_Glob],
        Meta(
            description='Actions that whoever may publish on the broker can have run: `["gpio.write"]`. `commands.allow` has to allow them too.',
            max_length=64,
        ),
    ] = []
    home_assistant: Annotated[
        bool, Meta(description="Have Home Assistant find the published metrics, the outputs and the allowed actions by itself.")
    ] = False
    discovery_prefix: Annotated[_Topic, Meta(description="Where Home Assistant looks for that.")] = "homeassistant"

    def __post_init__(self) -> None:
        _check_url(self.url)
        if self.ca_file and not self.tls:
            raise ValueError("ca_file: mqtt:// has no TLS; write mqtts://")
        # What waited at the broker while the device was away must not be obeyed, so it is not to be kept for us there.
        asked = f"{self.topic or 'edgeagent/x'}/action/x"
        if self.allow and any(wildcards(rule.in_, asked) is not None for rule in self.rules):
            raise ValueError("rules: one takes in what `allow` listens to; use a narrower filter, or another broker for it")

    @property
    def tls(self) -> bool:
        return self.url.startswith("mqtts:")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        found = urlsplit(self.url)
        return found.port or _PORTS[found.scheme]
