"""How long the machine has been up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.builtin._kernel import present, seconds_up
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts


@facts("uptime", Field("uptime_seconds", "double", "Seconds since the kernel started, those in suspend too.", volatile=True))
def read(machine: Machine) -> Mapping[str, Any]:
    return present({"uptime_seconds": seconds_up(machine)})
