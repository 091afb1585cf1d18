"""The other side of what a broker is told, without a broker."""

from __future__ import annotations

import json
from typing import Any

from edgeagent.bridge.discovery import Places
from edgeagent.bridge.outlet import Outlet

__all__ = ["HERE", "PLACES", "Told"]

PLACES = Places(device_id="pi-1", base="edgeagent/pi-1", state="edgeagent/pi-1/state", version="1")
HERE = "homeassistant/device/edgeagent_pi-1/config"


class Told:
    """Takes what is published, as long as there is room."""

    def __init__(self) -> None:
        self.room, self.now = 10_000, 1000.0
        self.there: dict[str, bytes] = {}
        self.sent: list[str] = []

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> bool:
        assert qos == 1 and retain
        if self.room <= 0:
            return False
        self.room -= 1
        self.sent.append(topic)
        self.there[topic] = payload
        return True

    def outlet(self, *globs: str, **more: Any) -> Outlet:
        return Outlet(self.publish, PLACES, list(globs), clock=lambda: self.now, **more)

    @property
    def components(self) -> dict[str, Any]:
        return self.components_at(HERE)

    def components_at(self, topic: str) -> dict[str, Any]:
        found = json.loads(self.there[topic])["cmps"]
        assert isinstance(found, dict)
        return found
