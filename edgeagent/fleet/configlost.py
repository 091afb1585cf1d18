"""What a hub that was restored or wiped has lost of a scope's configuration, as far as devices still say it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeagent.config import Layer, merged
from edgeagent.fleet.configstatus import Applied
from edgeagent.fleet.configversion import Version
from edgeagent.fleet.states import Known
from edgeagent.subjects import Scope, scopes_of

__all__ = ["NAMED", "in_force", "names", "still_lost"]

Newest = Mapping[Scope, Version]
#: So many devices are named; of more only the number is said.
NAMED = 3


def in_force(scope: Scope, devices: Iterable[Known], newest: Newest) -> dict[str, Any]:
    """What the devices say to have from documents, by dotted name, without what their other scopes' documents at the hub explain.

    A device does not say from which document a value is. So where several were lost, this has the values of all of them.
    """
    found: dict[str, Any] = {}
    for known in devices:
        explained = merged(_others(scope, known, newest))
        for name, value in Applied(known.config).values.items():
            if name not in explained or explained[name].value != value:
                found.setdefault(name, value)
    return found


def _others(scope: Scope, known: Known, newest: Newest) -> Iterable[Layer]:
    for other in scopes_of(known.id, known.groups):
        if other != scope and other in newest:
            yield Layer(str(other), newest[other].values)


def still_lost(scope: Scope, devices: Sequence[Known], newest: Newest) -> str:
    """What makes it uncertain, as the end of a sentence: devices that don't say their values, other scopes that were lost, too."""
    silent = [known.id for known in devices if not Applied(known.config).known]
    others = {
        str(other)
        for known in devices
        for other in scopes_of(known.id, known.groups)
        if other != scope and _is_behind(other, known, newest)
    }
    return "".join(
        (
            f"; some of it may be of {', '.join(sorted(others))}, lost too" if others else "",
            f"; {names(silent)}: too much to be reported" if silent else "",
        )
    )


def _is_behind(scope: Scope, known: Known, newest: Newest) -> bool:
    state = known.config.scopes.get(str(scope)) if known.config else None
    return state is not None and state.applied > (newest[scope].generation if scope in newest else 0)


def names(devices: Sequence[str]) -> str:
    """The devices by name; if they are many, the first one and how many others."""
    if len(devices) <= NAMED:
        return " and ".join(part for part in (", ".join(devices[:-1]), *devices[-1:]) if part)
    return f"{devices[0]} and {len(devices) - 1} others"
