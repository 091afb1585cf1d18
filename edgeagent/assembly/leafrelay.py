"""The agent's client of the leaf's MQTT: there as long as the leaf takes MQTT clients, and as it takes them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgeagent.assembly.deviceleaf import LeafConnections
from edgeagent.bridge.mqttshapes import MqttOptions
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.mqttconf import AGENT_USER, MqttConf
from edgeagent.patterns.mcus import Mcus
from edgeagent.runtime import Tasks
from edgeagent.status import Problem

if TYPE_CHECKING:
    from edgeagent.bridge.leafmqtt import LeafMqtt

__all__ = ["LeafRelay", "options_of"]

#: Our own session there: what is published with QoS 1 while the agent is away waits under this name.
CLIENT_ID = "edgeagent"
#: A broker on this machine that says nothing for so long is ill, in seconds.
KEEPALIVE_SECONDS = 60
#: Bounds of the pause before it is dialled again, in seconds: it is at hand.
RETRY_SECONDS = (0.2, 5.0)
#: The least of it where the leaf refused us, or ended the connection right away as one does that is restarted.
REFUSED_SECONDS = 1.0


def options_of(conf: MqttConf) -> MqttOptions:
    """How the agent reaches it."""
    address = ipaddress.ip_address(conf.host)
    anywhere = {4: "127.0.0.1", 6: "::1"}[address.version]
    return MqttOptions(
        host=anywhere if address.is_unspecified else conf.host,
        port=conf.port,
        client_id=CLIENT_ID,
        name="the leaf's MQTT",
        user=AGENT_USER,
        password=conf.agent_password,
        tls=conf.key is not None,
        ca_file=conf.certificate,
        is_pinned=True,
        keepalive_seconds=KEEPALIVE_SECONDS,
        retry_seconds=RETRY_SECONDS,
        refused_seconds=REFUSED_SECONDS,
    )


class LeafRelay:
    """on_change: called when its problems may be others."""

    def __init__(self, leaf: Leaf, links: LeafConnections, mcus: Mcus, on_change: Callable[[], None] = lambda: None) -> None:
        self._leaf, self._links, self._mcus, self._on_change = leaf, links, mcus, on_change
        self._made: tuple[MqttOptions, LeafMqtt] | None = None
        self._conf: MqttConf | None = None
        self._tasks: Tasks | None = None
        self._tables: tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Mapping[str, Any]]] = ({}, {})

    def start(self, tasks: Tasks) -> None:
        """Carry from now on, until ``tasks`` are closed; then :meth:`close`."""
        self._tasks = tasks

    async def refresh(self) -> None:
        """See whether the leaf takes MQTT clients otherwise than before, or others."""
        conf = self._leaf.mqtt.conf if not self._leaf.mqtt.problem else None
        if conf == self._conf:
            return
        self._conf, wanted = conf, options_of(conf) if conf else None
        if wanted is None or (self._made and self._made[0] != wanted):
            await self.close()
        if wanted and self._made:
            self._made[1].logins_changed()
        elif wanted and self._tasks:
            self._begin(wanted, self._tasks)
        self._on_change()

    async def close(self) -> None:
        """End it. Safe to call twice."""
        if self._made:
            (_, relay), self._made = self._made, None
            await relay.close()

    def set_configuration(self, apps: Mapping[str, Mapping[str, Any]], mcus: Mapping[str, Mapping[str, Any]]) -> None:
        """What the configuration has for programs and for microcontrollers, by name."""
        self._tables = (apps, mcus)
        if self._made:
            self._made[1].set_configuration(apps, mcus)

    async def ask(self, app: str, action: str, body: bytes, seconds: float) -> bytes | None:
        """As :meth:`LeafMqtt.ask`."""
        if not self._made:
            return None
        return await self._made[1].ask(app, action, body, seconds)

    def problems(self) -> list[Problem]:
        """What is wrong with it."""
        if not self._made:
            return []
        relay = self._made[1]
        own = relay.status().problem
        found = [Problem(f"cannot {own.what}: {own.why}", own.remedy)] if own else []
        for user, reason in sorted(relay.restless().items()):
            remedy = "do two clients use one name, or does one publish what the leaf refuses: a topic with a blank, too large a message?"
            found.append(
                Problem(
                    f"the MQTT connection of {user} ends and comes again all the time ({reason or 'no reason known'})", remedy
                )
            )
        return found

    def _begin(self, wanted: MqttOptions, tasks: Tasks) -> None:
        from edgeagent.bridge.leafmqtt import LeafMqtt  # and with it paho: only who has MQTT clients pays for it

        relay = LeafMqtt(
            wanted,
            self._links.agent,
            self._links.system,
            self._mcus,
            mcu_ids=lambda: [mcu.id for mcu in (self._conf.mcus if self._conf else ())],
            programs=lambda: [app.name for app in (self._conf.apps if self._conf else ())],
            on_change=self._on_change,
        )
        self._made = (wanted, relay)
        relay.set_configuration(*self._tables)
        relay.start(tasks)
