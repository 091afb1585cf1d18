"""The versions of what runs the device."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import edgeagent
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts


@facts(
    "versions",
    Field("versions.agent", "string", "The agent's version (`0.1.0`)."),
    Field("versions.python", "string", "The version of the Python that the agent runs on."),
    Field("versions.nats_server", "string", "The version of the device's own nats-server."),
)
def read(machine: Machine) -> Mapping[str, Any]:
    # The nats-server's version is given by whoever started it: asking the program would start a process.
    return {"versions.agent": edgeagent.__version__, "versions.python": platform.python_version()}
