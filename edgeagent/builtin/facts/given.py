"""Facts that no file of the machine holds: the settings, the hub and the identity decide them, and the agent hands them in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.machine import Machine
from edgeagent.registry import Field, facts


@facts(
    "given",
    Field("id", "string", "The device's id."),
    Field("groups", "list", "The groups that the hub has given the device, in the order in which their config applies."),
    Field("labels", "map", "What the device's own settings say about it: `labels.site == 'berlin'`."),
    Field("alerts", "map", "The alerts that are raised, each with its severity: `size(alerts) > 0`, `'hot' in alerts`."),
    Field(
        "mcus",
        "list",
        "The microcontrollers of the device, each with `id`, `state` (online, silent, offline), `kind` (usb, uart, mqtt), `firmware` and `hardware`: `mcus.exists(m, m.firmware != '1.2.0')`.",
    ),
    Field(
        "mcus_now",
        "map",
        "What changes all the time of each of them, by id: where, actions, readings, lost, heard_seconds, problem.",
        volatile=True,
    ),
)
def read(machine: Machine) -> Mapping[str, Any]:
    return {}
