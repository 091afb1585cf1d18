"""What the demo consists of, and where each part is below its folder."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edgeagent.schema import AgentSettings, ForwardSettings, LeafSettings, SamplingSettings

__all__ = ["COLLECTORS", "QUICK", "SHIPPED", "DemoDevice", "DemoFolder", "Pace", "devices"]

#: Where the reader may put programs that measure, in each device's folder.
COLLECTORS = "collectors.d"
#: Sites go round, so that filters by label and by group have something to tell apart.
SITES = ("berlin", "munich", "hamburg")


#: The lines of an agent.toml that change from start to start.
_PORTS = (re.compile(r"^urls = .*$", re.MULTILINE), re.compile(r"^port = \d+", re.MULTILINE))


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How quickly the parts notice each other, in seconds; the defaults are those that edgeagent ships with."""

    heartbeat_seconds: float = AgentSettings().heartbeat_seconds
    facts_seconds: float = AgentSettings().facts_seconds
    reconnect_seconds: float = LeafSettings().reconnect_seconds
    ping_seconds: float = LeafSettings().ping_seconds
    restart_cap_seconds: float = LeafSettings().restart_cap_seconds
    sampling_seconds: float = SamplingSettings().interval_seconds
    flush_seconds: float = SamplingSettings().flush_seconds
    forward_seconds: float = ForwardSettings().seconds


SHIPPED = Pace()
#: Short enough that a person sees things happen; a Pi on a metered link would not want this.
QUICK = Pace(
    heartbeat_seconds=2.0,
    facts_seconds=2.0,
    reconnect_seconds=1.0,
    ping_seconds=2.0,
    restart_cap_seconds=1.0,
    sampling_seconds=5.0,
    flush_seconds=5.0,
    forward_seconds=2.0,
)


@dataclass(frozen=True, kw_only=True)
class DemoDevice:
    """mcu: the microcontroller behind it; empty: none."""

    id: str
    groups: tuple[str, ...]
    labels: dict[str, str]
    mcu: str = ""


def devices(count: int, mcu: str = "") -> list[DemoDevice]:
    """pi-01, pi-02, ...: each in the group of its site, every second one in ``kitchen`` or ``office``; pi-02 has no floor. mcu: behind the
    first one."""
    made = []
    for number in range(1, count + 1):
        site = SITES[(number - 1) % len(SITES)]
        labels = {"site": site} if number % 3 == 2 else {"site": site, "floor": str(number % 4)}
        made.append(
            DemoDevice(
                id=f"pi-{number:02}",
                groups=(site, "kitchen" if number % 2 else "office"),
                labels=labels,
                mcu=mcu if number == 1 else "",
            )
        )
    return made


def with_ports_of(kept: str, fresh: str) -> str:
    """An agent.toml that somebody may have changed, with the address of the hub and the leaf's port as a fresh one has them."""
    for line in _PORTS:
        found = line.search(fresh)
        assert found is not None
        kept = line.sub(found.group(), kept, count=1)
    return kept


class DemoFolder:
    """``hub/``, ``owner.keys``, and ``devices/<id>/`` with ``agent.toml``, ``agent.pid`` and ``leaf.pid``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def hub(self) -> Path:
        return self.path / "hub"

    @property
    def keys(self) -> Path:
        """The owner's file of the demo's hub, which dies with it."""
        return self.path / "owner.keys"

    def device(self, device_id: str) -> Path:
        return self.path / "devices" / device_id

    def settings(self, device_id: str) -> Path:
        return self.device(device_id) / "agent.toml"

    def mcu_port(self, device: DemoDevice) -> Path:
        """Leads to the port of its microcontroller while that runs."""
        return self.device(device.id) / f"{device.mcu}.tty"

    def settings_text(self, device: DemoDevice, *, leaf_port: int, cable_port: int, pace: Pace = QUICK) -> str:
        """An agent.toml that keeps everything in the device's own folder and reaches the hub through its cable."""
        labels = ", ".join(f"{key} = {json.dumps(value)}" for key, value in device.labels.items())
        allowed = [
            "ping",
            "identify",
            "logs",
            "service.status",
            "exec",
            *([f"mcu.{device.mcu}.*", "mcu.logs"] if device.mcu else []),
        ]
        return f"""\
# One device of the demo. `edgeagent run --settings` this file starts it by hand. The demo sets hub.urls and leaf.port
# at each start; the rest stays as you change it.
[device]
id = "{device.id}"
labels = {{ {labels} }}

[hub]
urls = ["nats-leaf://127.0.0.1:{cable_port}"]

[leaf]
port = {leaf_port}
store_max_bytes = {64 << 20}
reconnect_seconds = {pace.reconnect_seconds}
ping_seconds = {pace.ping_seconds}
restart_cap_seconds = {pace.restart_cap_seconds}

[agent]
heartbeat_seconds = {pace.heartbeat_seconds}
facts_seconds = {pace.facts_seconds}

[sampling]
interval_seconds = {pace.sampling_seconds}
flush_seconds = {pace.flush_seconds}

[forward]
seconds = {pace.forward_seconds}

[commands]
allow = {json.dumps(allowed)}

[exec]
enabled = true
allow = [["/bin/echo", "*"]]
user = "{"root" if os.geteuid() == 0 else ""}"

[paths]
state = "."
runtime = "."
collectors = "{COLLECTORS}"
{self._wired(device)}"""

    def _wired(self, device: DemoDevice) -> str:
        return f"\n[serial.mcus.{device.mcu}]\nport = {json.dumps(str(self.mcu_port(device)))}\n" if device.mcu else ""
