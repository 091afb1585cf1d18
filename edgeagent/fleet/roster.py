"""The roster: all that the hub keeps about every device, merged into one table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from edgeagent import subjects, wire
from edgeagent.direct import Stored, hub_time, read_all
from edgeagent.errors import Failed
from edgeagent.fleet.states import Known
from edgeagent.link import Client
from edgeagent.times import parse_rfc3339

__all__ = ["Roster", "merge", "read_roster"]


class Roster:
    """What the hub knew about each device at ``time`` (the hub's clock)."""

    def __init__(self, time: datetime, devices: dict[str, Known], unreadable: int = 0) -> None:
        self.time = time
        self.devices = devices
        self.unreadable = unreadable


async def read_roster(client: Client) -> Roster:
    """Ask the hub for everything, three reads at once."""
    time, heard, presence, records = await asyncio.gather(
        hub_time(client),
        _all(client, "EDGE_REPORTS", "edge.from.>"),
        _all(client, "KV_edge_presence", subjects.kv("edge_presence", ">")),
        _all(client, "KV_edge_devices", subjects.kv("edge_devices", ">")),
    )
    return merge(time, heard, presence, records)


async def _all(client: Client, stream: str, subject: str) -> list[Stored]:
    return [message async for message in read_all(client, stream, subject)]


def merge(time: datetime, heard: list[Stored], presence: list[Stored], records: list[Stored]) -> Roster:
    """One table out of the messages of EDGE_REPORTS and the keys of the two buckets. What can't be read is counted."""
    roster = Roster(time, {})
    for stored in records:
        _add(roster, stored, stored.subject.split(".")[2], _record)
    for stored in presence:
        _add(roster, stored, stored.subject.split(".")[2], _presence)
    for stored in heard:
        _add(roster, stored, subjects.device_of(stored.subject), _heard)
    return roster


def _add(roster: Roster, stored: Stored, device_id: str, apply: Callable[[Known, Stored], Known]) -> None:
    if not subjects.is_id(device_id):
        # A tampered leaf can store under edge.from.*.report, with a literal asterisk (nats-server 2.15.1); nobody is called that.
        roster.unreadable += 1
        return
    known = roster.devices.get(device_id) or Known(device_id)
    try:
        roster.devices[device_id] = apply(known, stored)
    except (Failed, ValueError):
        roster.unreadable += 1


def _record(known: Known, stored: Stored) -> Known:
    return replace(known, record=wire.decode(stored.data, wire.DeviceRecord))


def _presence(known: Known, stored: Stored) -> Known:
    presence = wire.decode(stored.data, wire.Presence)
    parse_rfc3339(presence.since)  # here, where one that is no time costs its own device and nobody else
    return replace(known, presence=presence)


def _heard(known: Known, stored: Stored) -> Known:
    if stored.subject.endswith(".report"):
        report = wire.decode(stored.data, wire.Report)
        known = replace(known, report=report, reported=stored.time)
        return known.heard_at(stored.time, report.heartbeat_seconds)
    return known.heard_at(stored.time, wire.decode(stored.data, wire.Heartbeat).heartbeat_seconds)
