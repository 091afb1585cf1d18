"""What the demo consists of, and where each part is below its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DemoDevice", "DemoFolder", "devices"]

#: Sites go round, so that filters by label and by group have something to tell apart.
SITES = ("berlin", "munich", "hamburg")

#: Short enough that a person sees things happen; a Pi on a metered link would not want this.
HEARTBEAT_SECONDS = 2.0
RECONNECT_SECONDS = 1.0
PING_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class DemoDevice:
    id: str
    groups: tuple[str, ...]
    labels: dict[str, str]


def devices(count: int) -> list[DemoDevice]:
    """pi-01, pi-02, ...: each in the group of its site, every second one in ``kitchen`` or ``office``; pi-02 has no floor."""
    made = []
    for number in range(1, count + 1):
        site = SITES[(number - 1) % len(SITES)]
        labels = {"site": site} if number % 3 == 2 else {"site": site, "floor": str(number % 4)}
        made.append(DemoDevice(id=f"pi-{number:02}", groups=(site, "kitchen" if number % 2 else "office"), labels=labels))
    return made


class DemoFolder:
    """``hub/``, and ``devices/<id>/`` with ``agent.toml``, ``agent.pid`` and ``leaf.pid``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def hub(self) -> Path:
        return self.path / "hub"

    def device(self, device_id: str) -> Path:
        return self.path / "devices" / device_id

    def settings(self, device_id: str) -> Path:
        return self.device(device_id) / "agent.toml"

    def settings_text(self, device: DemoDevice, *, leaf_port: int, cable_port: int) -> str:
        """An agent.toml that keeps everything in the device's own folder and reaches the hub through its cable."""
        labels = ", ".join(f"{key} = {json.dumps(value)}" for key, value in device.labels.items())
        return f"""\
# One device of the demo. `edgeagent run --settings` this file starts it by hand.
[device]
id = "{device.id}"
labels = {{ {labels} }}

[hub]
urls = ["nats-leaf://127.0.0.1:{cable_port}"]

[leaf]
port = {leaf_port}
store_max_bytes = {64 << 20}
reconnect_seconds = {RECONNECT_SECONDS}
ping_seconds = {PING_SECONDS}
restart_cap_seconds = 1.0

[agent]
heartbeat_seconds = {HEARTBEAT_SECONDS}
facts_seconds = 2.0

[paths]
state = "."
runtime = "."
"""
