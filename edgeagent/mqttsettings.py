"""MQTT on the device: the section ``[mqtt]`` of agent.toml, which the hub can't change (:mod:`edgeagent.schema`): a network listener is
its owner's."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta

from edgeagent.brokersettings import BROKER_NAME, BrokerSettings
from edgeagent.sections import Section

__all__ = ["MqttSettings"]

#: A host name or an address, as a certificate may have it.
_NAME = r"^[A-Za-z0-9]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9])?\Z"
_Name = Annotated[str, Meta(pattern=_NAME, extra={"form": "a host name or an address"})]
_BrokerName = Annotated[
    str, Meta(pattern=BROKER_NAME, extra={"form": "1 to 32 of a-z, 0-9, '_' and '-', beginning with a letter"})
]


def _is_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address of this device, such as 127.0.0.1 or 0.0.0.0") from None


class MqttSettings(Section, frozen=True, kw_only=True):
    listen: Annotated[
        str,
        Meta(
            description="Address at which the leaf takes MQTT clients, once a microcontroller or program has a login for it. `0.0.0.0`: all of this device's. Anything but loopback needs `mqtt.tls`.",
            extra={"rule": _is_address},
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            description="Port for MQTT. When it is taken, a leaf on loopback uses a free one; on another address there is no MQTT until it is free. `edgeagent status` says so.",
            ge=1024,
            le=65535,
        ),
    ] = 1883
    tls: Annotated[
        Literal["", "self", "files"],
        Meta(
            description="TLS for MQTT. `self`: a certificate by an authority of the device's own, renewed by itself. `files`: yours. Empty: none."
        ),
    ] = ""
    tls_names: Annotated[
        list[_Name],
        Meta(
            description="More names and addresses by which microcontrollers reach this device, for its certificate. Its host name (also with `.local`) and its addresses are in it.",
            max_length=32,
        ),
    ] = []
    certificate_file: Annotated[
        str,
        Meta(
            description='The certificate and those between it and its authority, PEM, with `tls = "files"`. A relative path counts from the state folder.'
        ),
    ] = ""
    key_file: Annotated[str, Meta(description="Its private key, PEM, readable by the agent. A relative path counts alike.")] = ""
    store_max_bytes: Annotated[
        int,
        Meta(
            description="The most that sessions, retained and unacknowledged messages of MQTT may take on disk, in bytes, besides `leaf.store_max_bytes`; at most an eighth of what that came to, but 4 MiB.",
            ge=4 << 20,
            le=1 << 40,
        ),
    ] = 32 << 20

    brokers: Annotated[
        dict[_BrokerName, BrokerSettings],
        Meta(
            description="The MQTT brokers that you already have, each a table `[mqtt.brokers.<name>]`. [brokers.md](brokers.md)",
            max_length=16,
        ),
    ] = {}

    def __post_init__(self) -> None:
        if not self.tls and not self.is_loopback:
            raise ValueError(
                f'listen = {self.listen!r}: passwords would cross the network in plain text; set tls = "self" (or "files") in [mqtt]'
            )
        if self.tls == "files" and not (self.certificate_file and self.key_file):
            raise ValueError('tls = "files": set certificate_file and key_file too')

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it. What is no address is none of ours to judge: the type says so."""
        try:
            return ipaddress.ip_address(self.listen).is_loopback
        except ValueError:
            return True
