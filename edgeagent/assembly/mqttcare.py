"""Looks after the leaf's MQTT while the agent runs: bounds for its streams, its certificate, and a port or address that comes free."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edgeagent.errors import EdgeError
from edgeagent.leaf import mqttconf, mqttstreams
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.mqttstreams import Use
from edgeagent.link import connect
from edgeagent.natsserver.supervisor import State
from edgeagent.runtime import jittered, woken
from edgeagent.status import Problem

__all__ = ["MqttCare", "full"]

log = logging.getLogger("edgeagent")

#: How often all of it is looked at, in seconds.
LOOK_SECONDS = 60.0
#: From this part on a stream is called full: what is larger than the rest of it is refused already.
FULL_PART = 0.95

_FULL = {
    "$MQTT_sess": (
        "the sessions of MQTT clients",
        "clients that are new are not let in; one uses a new client id at each connect",
    ),
    "$MQTT_rmsgs": ("retained MQTT messages", "those on further topics are not kept; some client retains too many"),
    "$MQTT_msgs": ("MQTT messages for clients that are away", "the oldest are dropped; some client left a session behind"),
    "$MQTT_qos2in": ("unfinished MQTT messages with QoS 2", "whoever sends more is cut off; use QoS 1"),
    "$MQTT_out": ("unfinished MQTT messages with QoS 2", "the oldest are dropped; use QoS 1"),
}


def full(uses: list[Use]) -> list[Problem]:
    """What is wrong with streams that are used so much."""
    found = []
    for use in uses:
        if use.used >= FULL_PART * use.limit:
            what, means = _FULL[use.stream]
            remedy = "raise `mqtt.store_max_bytes` in agent.toml and restart the agent, or mend that client"
            found.append(Problem(f"{what} take all the room that they have ({use.limit >> 10} KiB): {means}", remedy))
    return found


class MqttCare:
    """tell: called with what is wrong with the streams, when that changes."""

    def __init__(self, leaf: Leaf, tell: Callable[[list[Problem]], None]) -> None:
        self._leaf, self._tell = leaf, tell
        self.problems: list[Problem] = []

    async def run(self) -> None:
        """For ever. Costs nothing where nobody has a login for MQTT."""
        while True:
            try:
                await self.look()
            except EdgeError as error:
                log.warning("%s", error)
            busy = self._leaf.mqtt.conf or self._leaf.mqtt.problem
            await woken(self._leaf.mqtt.changed, jittered(LOOK_SECONDS) if busy else None)

    async def look(self) -> None:
        """Once. Raises EdgeError."""
        if (self._leaf.mqtt.conf or self._leaf.mqtt.problem) and self._leaf.state is State.RUNNING:
            await self._leaf.apply()
        if self._leaf.mqtt.status() and self._leaf.state is State.RUNNING:
            self._found(full(await self._bounded()))
        else:
            self._found([])

    def _found(self, problems: list[Problem]) -> None:
        if problems != self.problems:
            self.problems = problems
            for problem in problems:
                log.warning("%s. %s", problem.what, problem.remedy)
            self._tell(problems)

    async def _bounded(self) -> list[Use]:
        conf = self._leaf.mqtt.conf
        assert conf is not None, "there is MQTT"
        client = await connect(
            self._leaf.url,
            what="look after the leaf's MQTT",
            name="edgeagent (mqtt)",
            inbox_prefix=mqttconf.INBOX,
            password=(mqttconf.AGENT_USER, conf.agent_password),
            reconnect=False,
        )
        try:
            return await mqttstreams.bounded(client, self._leaf.options.device_id, conf.store_bytes)
        finally:
            await client.close()
