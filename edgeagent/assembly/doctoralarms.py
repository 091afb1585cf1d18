"""What `edgeagent hub doctor` says of what nats-server complained of within the last hour: refused logins, slow readers, JetStream's advisories."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from edgeagent import subjects, wire
from edgeagent.assembly.doctorclients import connected
from edgeagent.assembly.findings import Finding
from edgeagent.direct import hub_time, read_all
from edgeagent.errors import EdgeError
from edgeagent.hub.alarms import kinds
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.ownevents import STREAM
from edgeagent.hub.streams import SEVERITIES
from edgeagent.times import age

__all__ = ["Told", "findings", "trouble"]

#: How far back it looks; what is bad and younger than the second is called wrong.
RECENT, JUST_NOW = timedelta(hours=1), timedelta(minutes=10)


class Told(NamedTuple):
    """An event of the hub. stored: when the hub stored it."""

    severity: str
    kind: str
    text: str
    stored: datetime


async def trouble(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Nothing when nobody answers: another check says so."""
    async with connected(place, "hub") as clients:
        if not clients:
            return []
        (client,) = clients
        now, told = await hub_time(client, prefix=PREFIX), list[Told]()
        async for item in read_all(client, STREAM, subjects.event(subjects.HUB, "*"), prefix=PREFIX, since=now - RECENT):
            with contextlib.suppress(EdgeError):
                event = wire.decode(item.data, wire.Event)
                told.append(Told(item.subject.rpartition(".")[2], event.kind, event.text, item.time))
        return findings(told, now)


def findings(told: Sequence[Told], now: datetime) -> list[Finding]:
    """One of each kind, of its newest event. told: in the order of time. Pure."""
    known, newest = kinds(), dict[str, Told]()
    for each in told:
        if each.kind in known and _is_bad(each, "warning"):
            newest[each.kind] = each
    found = [
        Finding(
            "wrong" if _is_bad(each, "error") and now - each.stored < JUST_NOW else "warn",
            f"{each.text} ({age(each.stored, now)})",
            known[each.kind].remedy,
            "trouble",
        )
        for each in newest.values()
    ]
    return found or [Finding("good", "nats-server has complained of nothing within an hour", check="trouble")]


def _is_bad(told: Told, least: str) -> bool:
    return told.severity in SEVERITIES and SEVERITIES.index(told.severity) >= SEVERITIES.index(least)
