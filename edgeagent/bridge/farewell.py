"""Takes away what stands at a broker that agent.toml names no more: nobody else would, and Home Assistant would show it for ever.

Its subscriptions too, or it would keep messages for us.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from edgeagent.bridge.brokerstate import BrokerState
from edgeagent.bridge.mqttclient import MqttClient, MqttMessage, MqttOptions
from edgeagent.errors import EdgeError, Failed
from edgeagent.patterns.events import Events
from edgeagent.runtime import Tasks, woken

__all__ = ["Farewell", "left_behind"]

log = logging.getLogger("edgeagent")

#: Besides what is published: our presence, and some room.
MORE_IN_QUEUE = 10


def left_behind(folder: Path, current: Mapping[str, str]) -> dict[str, Path]:
    """The files of brokers that are none any more, by their names. current: where each is that agent.toml has, ``host:port`` by name.

    One that only has another name now keeps its file, under that name; of one that was moved the file of the old place is set aside.
    """
    found = {}
    for path in sorted(folder.glob("broker-*.json")):
        name, where = path.stem.partition("-")[2], BrokerState.load(path).where
        if name in current and where in ("", current[name]):
            continue
        renamed = next((each for each, place in current.items() if place == where and name not in current), None)
        if renamed is not None and not (folder / f"broker-{renamed}.json").exists():
            path.rename(folder / f"broker-{renamed}.json")
        elif where in current.values():
            path.unlink()  # what stands there is another one's now
        elif name in current:
            found[f"{name}@{where}"] = path.rename(folder / f"broker-{name}@{where}.json")
        else:
            found[name] = path
    return found


def _ignored(message: MqttMessage) -> None:
    message.ack()


class Farewell:
    """file: what is known of the broker. It tries as long as it lives, and is done when the broker has acknowledged all of it."""

    def __init__(self, name: str, file: Path, events: Events, on_change: Callable[[], None] = lambda: None) -> None:
        self.name, self._file, self._events, self._on_change = name, file, events, on_change
        self._state = BrokerState.load(file)
        self._topics = self._state.topics
        self._wake, self._tasks = asyncio.Event(), Tasks()
        self._client = self._made() if self._topics or self._state.filters else None
        self._done = self._told = False

    def _made(self) -> MqttClient | None:
        login = self._state.login
        if login is None:
            return None
        options = MqttOptions(
            host=login.host,
            port=login.port,
            client_id=login.client_id,
            name=f"the broker {self.name}",
            user=login.user,
            password_file=Path(login.password_file) if login.password_file else None,
            tls=login.tls,
            ca_file=Path(login.ca_file) if login.ca_file else None,
            queue=len(self._topics) + MORE_IN_QUEUE,
        )
        return MqttClient(options, on_message=_ignored, on_change=self._changed)

    @property
    def problem(self) -> EdgeError | None:
        """What is to be done by hand, as long as it could not be done."""
        why = self._client.status().problem if self._client else None
        if self._done or not self._topics or (self._client and why is None):
            return None
        return Failed(
            f"take away what was published at the broker {self.name}, which agent.toml names no more",
            why.why if why else "it is not known how it is reached",
            f"it is tried again; or remove the retained messages {', '.join(self._descriptions())} and those below "
            f"{self._state.base} there by hand (`mosquitto_pub -r -n -t TOPIC`), and {self._file}, and restart the agent",
        )

    def start(self) -> None:
        """Until :meth:`close`."""
        if self._client is not None:
            self._client.start()
            self._tasks.start(f"what stands at {self.name}", self._take_away(self._client))
        elif self._topics:
            self._changed()
        else:
            self._forget()

    async def close(self) -> None:
        await self._tasks.close()
        if self._client is not None:
            await self._client.close()

    async def _take_away(self, client: MqttClient) -> None:
        while not client.status().connected:
            await woken(self._wake, None)
        client.unsubscribe(self._state.filters)
        for topic in self._topics:
            client.publish(topic, b"", 1, True)
        while client.status().waiting:
            await woken(self._wake, 1.0)  # it says only how its connection is
        self._done = True
        self._forget()
        if self._topics:
            self._tell_it_is_done()
        self._on_change()
        await client.close()

    def _tell_it_is_done(self) -> None:
        text = f"what was published at the broker {self.name}, which agent.toml names no more, was taken away"
        self._events.tell("info", "broker.removed", text, broker=self.name, topics=len(self._topics))

    def _descriptions(self) -> list[str]:
        return list(self._state.discovery)[:3]

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            self._file.unlink()

    def _changed(self) -> None:
        self._wake.set()
        problem = self.problem
        if problem is not None and not self._told:
            self._told = True
            log.warning("%s", problem)
            self._events.tell("warning", "broker.left_behind", str(problem), broker=self.name)
        self._on_change()
