"""The microcontrollers behind devices, out of the facts that these answered with. Pure. What a device says of them may be anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from edgeagent.fleet.outcome import Row
from edgeagent.fleet.states import State

__all__ = ["FIELDS", "DeviceMcu", "mcus_of"]

#: The facts that are asked for: what a report has, and what changes by itself.
FIELDS = ("mcus", "mcus_now")


class DeviceMcu(msgspec.Struct, frozen=True, kw_only=True):
    """One microcontroller. The fields are those of :class:`edgeagent.status.McuStatus` but for these:

    device: behind which it is. state: ``device offline`` and the like where that did not answer; the rest is then as it said last, and
    what changes by itself not known. readings, lost, heard_seconds: None where they are not known; the last one is how long ago it spoke.
    """

    device: str
    id: str
    state: str
    kind: str = ""
    where: str = ""
    firmware: str = ""
    hardware: str = ""
    actions: list[str] = []
    readings: int | None = None
    lost: int | None = None
    heard_seconds: float | None = None
    bad: str = ""
    problem: str = ""


def mcus_of(row: Row) -> list[DeviceMcu]:
    """Those of one device, by id; what makes no sense is left out."""
    facts = row.facts or {}
    details = facts.get("mcus_now")
    is_there = row.state is State.ONLINE and row.round_trip_ms is not None
    state = {} if is_there else {"state": f"device {row.state}"}
    found = (_read(row.id, each, details if is_there else None, state) for each in _listed(facts.get("mcus")))
    return sorted((each for each in found if each), key=lambda each: each.id)


def _listed(said: Any) -> Iterable[Mapping[str, Any]]:
    return [each for each in said if isinstance(each, Mapping)] if isinstance(said, list) else []


def _read(device: str, said: Mapping[str, Any], details: Any, state: Mapping[str, str]) -> DeviceMcu | None:
    more = details.get(said.get("id")) if isinstance(details, Mapping) and isinstance(said.get("id"), str) else None
    try:
        return msgspec.convert({**said, **(more if isinstance(more, Mapping) else {}), **state, "device": device}, DeviceMcu)
    except (msgspec.ValidationError, TypeError):
        return None
