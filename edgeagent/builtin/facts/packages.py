"""What the agent's Python has installed: for `fleet upgrade`, and for whoever must know which devices have a package with a hole."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeagent.errors import Failed
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts
from edgeagent.upgrade.manifest import installed


@facts(
    "packages",
    Field(
        "packages", "map", 'What the agent\'s Python has installed, each with its version: `packages["pynacl"]`.', volatile=True
    ),
)
def read(machine: Machine) -> Mapping[str, Any]:
    try:
        return {"packages": installed(Path(sys.prefix))}
    except Failed:  # it runs in no virtual environment
        return {}
