"""A client of ours in a test, with what it heard."""

from __future__ import annotations

from typing import Any

from edgeagent.bridge.mqttclient import MqttClient, MqttMessage, MqttOptions
from tests.support.servers import until

__all__ = ["Ours"]


class Ours:
    """A client of ours, and what it heard. Acknowledges what it hears unless ``holds``."""

    def __init__(self, port: int, **options: Any) -> None:
        self.heard: list[MqttMessage] = []
        self.holds, self.changes = False, 0
        given = {"retry_seconds": (0.05, 0.2), "refused_seconds": 0.05, "keepalive_seconds": 5, **options}
        wanted = MqttOptions(**{"host": "127.0.0.1", "port": port, "client_id": "edgeagent-pi-1", **given})
        self.client = MqttClient(wanted, on_message=self._came, on_change=self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def _came(self, message: MqttMessage) -> None:
        self.heard.append(message)
        if not self.holds:
            message.ack()

    async def __aenter__(self) -> Ours:
        self.client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.heard]

    async def connected(self) -> Ours:
        await until(lambda: self.client.status().connected, "it is connected")
        return self

    async def problem(self, words: str) -> None:
        await until(lambda: words in self.why and not self.client.status().connected and bool(self.changes), words)

    @property
    def why(self) -> str:
        return str(self.client.status().problem or "")
