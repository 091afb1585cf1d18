"""The roster: all that the hub keeps about every device, merged into one table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from edgeagent import subjects, wire
from edgeagent.direct import Stored, get_last, hub_time, read_all
from edgeagent.errors import Failed
from edgeagent.fleet.states import Known
from edgeagent.link import Client
from edgeagent.times import parse_rfc3339

__all__ = ["CLOCK_STEP", "Roster", "merge", "read_roster"]

#: What lies further in the hub's future was written while its clock was wrong, and says nothing about when it happened.
CLOCK_STEP = timedelta(minutes=1)
LONG_AGO = "1970-01-01T00:00:00Z"
#: What the subjects of the buckets' keys begin with.
_RECORDS, _PRESENCES = subjects.kv("edge_devices", ""), subjects.kv("edge_presence", "")


class Roster:
    """What the hub knew about each device at ``time`` (the hub's clock)."""

    def __init__(self, time: datetime, devices: dict[str, Known], unreadable: int = 0) -> None:
        self.time = time
        self.devices = devices
        self.unreadable = unreadable

    def take(self, stored: Stored, latest: datetime) -> None:
        """Take in one newer message of EDGE_REPORTS or of one of the two buckets. latest: what is from later is from a wrong clock."""
        if stored.subject.startswith(_RECORDS):
            _add(self, stored, stored.subject.removeprefix(_RECORDS), _record)
        elif stored.subject.startswith(_PRESENCES):
            device = stored.subject.removeprefix(_PRESENCES)
            _add(self, stored, device, lambda known, stored: _presence(known, stored, latest))
        else:
            _add(self, stored, subjects.device_of(stored.subject), lambda known, stored: _heard(known, stored, latest))


async def read_roster(client: Client, devices: Sequence[str] = (), *, prefix: str = subjects.API_PREFIX) -> Roster:
    """Ask the hub, all reads at once. devices: only these; none: everything that it keeps, some 1.5 KB a device.

    prefix: ``$JS.API`` in the account HUB itself.
    """
    reports = [subjects.report(device) for device in devices] + [subjects.heartbeat(device) for device in devices]
    time, heard, presence, records = await asyncio.gather(
        hub_time(client, prefix=prefix),
        _read(client, "EDGE_REPORTS", reports or ["edge.from.>"], prefix),
        _read(client, "KV_edge_presence", [subjects.kv("edge_presence", key) for key in devices or (">",)], prefix),
        _read(client, "KV_edge_devices", [subjects.kv("edge_devices", key) for key in devices or (">",)], prefix),
    )
    return merge(time, heard, presence, records)


async def _read(client: Client, stream: str, wanted: Sequence[str], prefix: str) -> list[Stored]:
    """The last message on each of the subjects, or all that one subject with a wildcard has."""
    if wanted[0].endswith(">"):
        return [message async for message in read_all(client, stream, wanted[0], prefix=prefix)]
    found = await asyncio.gather(*(get_last(client, stream, subject, prefix=prefix) for subject in wanted))
    return [message for message in found if message is not None]


def merge(time: datetime, heard: list[Stored], presence: list[Stored], records: list[Stored]) -> Roster:
    """One table out of the messages of EDGE_REPORTS and the keys of the two buckets. What can't be read is counted."""
    roster = Roster(time, {})
    latest = time + CLOCK_STEP
    for stored in (*records, *presence, *heard):
        roster.take(stored, latest)
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


def _presence(known: Known, stored: Stored, latest: datetime) -> Known:
    presence = wire.decode(stored.data, wire.Presence)
    # Read here, where one that is no time costs its own device and nobody else.
    if parse_rfc3339(presence.since) > latest:
        presence = msgspec.structs.replace(presence, since=LONG_AGO)
    return replace(known, presence=presence)


def _heard(known: Known, stored: Stored, latest: datetime) -> Known:
    if stored.subject.endswith(".report"):
        report = wire.decode(stored.data, wire.Report)
        known = replace(known, report=report, reported=stored.time)
        every = report.heartbeat_seconds
    else:
        every = wire.decode(stored.data, wire.Heartbeat).heartbeat_seconds
    return known.heard_at(stored.time, every) if stored.time <= latest else known
