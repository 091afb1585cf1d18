"""What has become of upgrades: what ran before, and what did not prove itself. Root writes it down; there is none where nobody upgraded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.builtin._kernel import present
from edgeagent.errors import EdgeError
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts
from edgeagent.upgrade.places import OPT, Places


@facts(
    "upgrade",
    Field("upgrade.before", "string", "The version of edgeagent before the present one."),
    Field("upgrade.trial", "string", "The version that is being tried now."),
    Field("upgrade.failed.version", "string", "The version that this device went back from, unless a later one stayed."),
    Field("upgrade.failed.why", "string", "Why it did."),
    Field("upgrade.failed.at", "timestamp", "When it did."),
)
def read(machine: Machine) -> Mapping[str, Any]:
    places = Places(machine.path(str(OPT)))
    try:
        standing, trial = places.standing(), places.trial()
    except EdgeError:
        return {}
    failed = standing.failed
    return present(
        {
            "upgrade.before": standing.before or None,
            "upgrade.trial": trial.version or None if trial else None,
            "upgrade.failed.version": failed.version if failed else None,
            "upgrade.failed.why": failed.why[:500] if failed else None,
            "upgrade.failed.at": failed.at if failed else None,
        }
    )
