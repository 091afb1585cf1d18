"""Whether what is written to the root file system stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.builtin import _mounts
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts


@facts(
    "root",
    Field("readonly_root", "bool", "`/` is mounted read-only. On a disk that had errors this is how Linux saves what is left."),
    Field(
        "overlay_root",
        "bool",
        "`/` is an overlay: writes go to memory and are gone after a reboot (raspi-config's overlay mode).",
    ),
)
def read(machine: Machine) -> Mapping[str, Any]:
    root = _mounts.root(_mounts.table(machine))
    if root is None:
        return {}
    return {"readonly_root": "ro" in root.options, "overlay_root": root.kind == "overlay"}
