"""One broker that the device's owner already has: what is taken from it, what it is told, and what its clients may ask us for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import __version__, actions
from edgeagent.actions import Outcome
from edgeagent.bridge.brokerstate import BrokerState, Login, Taken
from edgeagent.bridge.discovery import Places
from edgeagent.bridge.discoverymcus import Microcontroller
from edgeagent.bridge.intake import Intake
from edgeagent.bridge.mapping import Rule, is_below
from edgeagent.bridge.mqttclient import MqttClient, MqttMessage, MqttOptions, Will
from edgeagent.bridge.outlet import Outlet
from edgeagent.brokersettings import BrokerSettings, RuleSettings
from edgeagent.errors import EdgeError, Failed
from edgeagent.link import Client
from edgeagent.patterns.events import Events
from edgeagent.ratelimit import RateLimit
from edgeagent.runtime import Tasks, woken
from edgeagent.sample import Sample

__all__ = ["Broker", "Device", "options_of"]

log = logging.getLogger("edgeagent")

#: Actions that a broker's clients may ask for: so many at once, and a second in the long run. Of those beyond, few are told.
ASKS, ASKS_A_SECOND = 10, 1.0
TOLD, TOLD_A_SECOND = 3, 1 / 60
#: So many may run at a time.
MAX_RUNNING = 8
#: What an action's arguments may have, in bytes of JSON.
MAX_ARGUMENTS = 4096
#: The pause between two looks at what is to be published, and between two savings of what was taken, in seconds.
TURN_SECONDS, SAVE_SECONDS = 1.0, 300.0


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a broker's bridge needs of the device. client: to the leaf. ask: has an action run: (who asks, its name, its arguments) -> how it
    ended; it refuses what agent.toml does not allow, which ``allows`` says of an action by its name. outputs: the pins that can be switched,
    and what they are. mcus: its microcontrollers. state: the folder."""

    id: str
    client: Client
    events: Events
    ask: Callable[[str, str, Mapping[str, Any]], Awaitable[Outcome]]
    allows: Callable[[str], bool]
    outputs: Callable[[], Mapping[str, int | None]]
    mcus: Callable[[], list[Microcontroller]]
    state: Path


def options_of(settings: BrokerSettings, device_id: str, will: Will, beside: Callable[[str], Path | None]) -> MqttOptions:
    """beside: finds a file that agent.toml names."""
    return MqttOptions(
        host=settings.host,
        port=settings.port,
        client_id=settings.client_id or f"edgeagent-{device_id}",
        user=settings.user,
        password_file=beside(settings.password_file),
        tls=settings.tls,
        ca_file=beside(settings.ca_file),
        keepalive_seconds=settings.keepalive_seconds,
        queue=settings.queue,
        will=will,
    )


def _login(options: MqttOptions) -> Login:
    """For who takes away what we published, when agent.toml says it no more."""
    return Login(
        host=options.host,
        port=options.port,
        client_id=options.client_id,
        user=options.user,
        password_file=str(options.password_file or ""),
        tls=options.tls,
        ca_file=str(options.ca_file or ""),
    )


def _rule(settings: RuleSettings) -> Rule:
    return Rule(
        filter=settings.in_,
        exceptions=tuple(settings.except_),
        prefix=settings.name,
        device=tuple(settings.device),
        as_data=settings.as_ == "data",
    )


class Broker:
    """on_change: called when its status may say something new of the connection. problem: what is wrong, None: nothing is known to be."""

    def __init__(
        self,
        name: str,
        settings: BrokerSettings,
        device: Device,
        beside: Callable[[str], Path | None],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.name, self._settings, self._device, self._on_change = name, settings, device, on_change
        base = settings.topic or f"edgeagent/{device.id}"
        self._places = Places(device_id=device.id, base=base, state=f"{base}/state", version=__version__)
        will = Will(topic=self._places.state, here=b"online", gone=b"offline")
        self.client = MqttClient(
            options_of(settings, device.id, will, beside), on_message=self._came, on_change=self._connection_changed
        )
        self._file = device.state / f"broker-{name}.json"
        self._state = BrokerState.load(self._file)
        self._taken = Taken(self._state.taken)
        self.intake = Intake(
            device.client, name, [_rule(each) for each in settings.rules], self._taken, self._is_own, self.client.miss
        )
        self.outlet = Outlet(
            self.client.publish,
            self._places,
            settings.publish,
            outputs=device.outputs if self._is_offered("gpio.write") else dict,
            buttons=self._buttons(),
            mcus=device.mcus,
            may=self._is_offered,
            prefix=settings.discovery_prefix if settings.home_assistant else "",
            told=self._state.discovery,
        )
        self._asks, self._tells = RateLimit(ASKS_A_SECOND, ASKS), RateLimit(TOLD_A_SECOND, TOLD)
        self._turn = asyncio.Event()
        self._tasks = Tasks()
        self._running = 0
        self._was_connected = False
        self._broken: EdgeError | None = None
        self.asked = 0

    @property
    def problem(self) -> EdgeError | None:
        return self._broken or self.client.status().problem or self.intake.problem

    def start(self) -> None:
        """Until :meth:`close`."""
        filters = {rule.in_: 1 for rule in self._settings.rules}
        if self._settings.allow:
            filters[self._places.action("+")] = 0  # so that the broker keeps none for when we are back
        self._left = [each for each in self._state.filters if each not in filters]
        self._state.filters, self._state.login, self._state.base = list(filters), _login(self.client.options), self._places.base
        self._save()
        self.client.subscribe(filters)
        self.client.start()
        self._tasks.start(f"messages of {self.name}", self._minded(self.intake.run()))
        self._tasks.start(f"messages for {self.name}", self._minded(self._turns()))
        self._tasks.start(f"what is known of {self.name}", self._saves())

    async def close(self) -> None:
        """What waits is left to the broker."""
        await self._tasks.close()
        await self.client.close()
        self._save()

    @property
    def wants_samples(self) -> bool:
        """Whether :meth:`offer` is of use: to be published, or because they say what a microcontroller has switched."""
        return bool(self._settings.publish or self._settings.home_assistant)

    def offer(self, samples: list[Sample]) -> None:
        """These were measured on this device."""
        self.outlet.offer(samples)

    async def _minded(self, work: Coroutine[Any, Any, None]) -> None:
        """A fault of ours ends this bridge's work, and is told; the rest of the device goes on."""
        try:
            await work
        except Exception as error:
            log.exception("the bridge to the broker %s", self.name)
            self._broken = Failed(f"go on with the broker {self.name}", repr(error), "restart the agent; its log says more")
            self._on_change()

    async def _turns(self) -> None:
        busy = self.wants_samples or self._may("gpio.write")
        while True:
            await woken(self._turn, TURN_SECONDS if busy else None)
            if self.client.status().connected and self.outlet.turn():
                self._save()

    async def _saves(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            self._save()

    def _save(self) -> None:
        self._state.taken = self._taken.known
        with contextlib.suppress(EdgeError):  # a full disk; whoever has something to say of it does
            self._state.save(self._file)

    def _connection_changed(self) -> None:
        connected = self.client.status().connected
        if connected and not self._was_connected:
            log.info("connected to the broker %s at %s", self.name, self.client.options.where)
            self.client.unsubscribe(self._left)
            self.outlet.connected()
            self._turn.set()
        self._was_connected = connected
        self._on_change()

    def _is_own(self, topic: str) -> bool:
        return is_below(self._places.base, topic) or (
            self._settings.home_assistant and is_below(self._settings.discovery_prefix, topic)
        )

    # ---- what is asked for ----

    def _may(self, action: str) -> bool:
        return any(fnmatchcase(action, glob) for glob in self._settings.allow)

    def _is_offered(self, action: str) -> bool:
        """Whether it may be asked for here, and would be done."""
        return self._may(action) and self._device.allows(action)

    def _buttons(self) -> list[str]:
        found = [each for each in actions.every() if self._is_offered(each.name)]
        return [each.name for each in found if not any(f.required for f in msgspec.structs.fields(each.arguments))]

    def _came(self, message: MqttMessage) -> None:
        head, _, name = message.topic.partition(f"{self._places.base}/action/")
        if head or not name:
            self.intake.take(message)
            return
        message.ack()
        if message.payload and "/" not in name:  # an empty one takes a retained one away
            self._asked(name, message)

    def _asked(self, name: str, message: MqttMessage) -> None:
        self.asked += 1
        if not self._asks.allow():
            if self._tells.allow():
                self._tell(name, {}, Outcome("refused", f"more than {ASKS_A_SECOND:g} a second are asked for"))
            return
        args: Any = None
        if len(message.payload) <= MAX_ARGUMENTS:
            with contextlib.suppress(ValueError, RecursionError):
                args = json.loads(message.payload)
        refusal = self._refusal(name, message, args)
        if refusal:
            self._tell(name, args if isinstance(args, dict) else {}, Outcome("refused", refusal))
            return
        self._running += 1
        self._tasks.start(f"{name} for {self.name}", self._run(name, args))

    def _refusal(self, name: str, message: MqttMessage, args: Any) -> str:
        if message.retain:
            return "a message that the broker keeps is not obeyed; publish it without `retain`"
        if not isinstance(args, dict):
            return "its arguments are no JSON object"
        if not self._may(name):
            return f"agent.toml would need `{actions.printable(name)}` in `mqtt.brokers.{self.name}.allow`"
        return f"{MAX_RUNNING} run already" if self._running >= MAX_RUNNING else ""

    async def _run(self, name: str, args: Mapping[str, Any]) -> None:
        try:
            outcome = await self._device.ask(f"mqtt:{self.name}", name, args)
        finally:
            self._running -= 1
        self._tell(name, args, outcome)
        self._turn.set()

    def _tell(self, name: str, args: Mapping[str, Any], outcome: Outcome) -> None:
        """The audit, and who asked."""
        severity = "info" if outcome.state == "succeeded" else "warning"
        what = actions.described(name, args)
        why = f": {actions.printable(outcome.reason)}" if outcome.reason else ""
        self._device.events.tell(
            severity,
            "action.asked",
            f"the broker {self.name} asked for {what}: {outcome.state}{why}",
            by=f"mqtt:{self.name}",
            action=name[:128],
            args=what,
            state=outcome.state,
        )
        answer = {"state": outcome.state, "reason": outcome.reason, "value": outcome.value}
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            self.client.publish(f"{self._places.action(name)}/result", msgspec.json.encode(answer), 0)
