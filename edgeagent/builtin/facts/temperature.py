"""How hot the processor is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.builtin._kernel import celsius, present
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts


@facts(
    "temperature",
    Field("temperature_celsius", "double", "Temperature of the processor; a Pi throttles at 80 to 85.", volatile=True),
)
def read(machine: Machine) -> Mapping[str, Any]:
    return present({"temperature_celsius": celsius(machine)})
