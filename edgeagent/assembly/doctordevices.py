"""What `edgeagent hub doctor` says of devices: copied cards, those that were kept out because they were tampered with, and those of which
nothing was heard for long."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from edgeagent import subjects, wire
from edgeagent.assembly.doctorclients import connected
from edgeagent.assembly.doctorlogins import named
from edgeagent.assembly.findings import Finding
from edgeagent.direct import hub_time, read_all
from edgeagent.fleet.roster import read_roster
from edgeagent.fleet.states import Known, State, state_of
from edgeagent.hub import register
from edgeagent.hub.bucket import PREFIX, Bucket
from edgeagent.hub.device_orders import TAMPERED
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.streams import PRESENCE_BUCKET
from edgeagent.link import Client
from edgeagent.times import parse_rfc3339

__all__ = ["devices", "findings", "silent", "stale"]

DAY_SECONDS = 86_400
#: Who is away for so long may be gone for ever.
AWAY_DAYS = 7


async def devices(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Nothing when nobody answers: another check says so."""
    async with connected(place, "hub") as clients:
        if not clients:
            return []
        (client,) = clients
        presences = await Bucket(client, PRESENCE_BUCKET, wire.Presence).all()
        known = {device: presence for device, (presence, _) in presences.items()}
        return findings(await register.every(client), known, await _told_of_twins(client))


async def _told_of_twins(client: Client) -> dict[str, str]:
    """What the hub has told of copied cards within a day: device -> sentence."""
    now, found = await hub_time(client, prefix="$JS.API"), {}
    async for item in read_all(client, "EDGE_EVENTS", subjects.event(subjects.HUB, "error"), prefix="$JS.API"):
        event = wire.decode(item.data, wire.Event)
        if event.kind == "device.twins" and (now - item.time).total_seconds() < DAY_SECONDS:
            found[str(event.data.get("id", ""))] = event.text
    return found


def findings(
    records: dict[str, wire.DeviceRecord], presences: dict[str, wire.Presence], told: dict[str, str] | None = None
) -> list[Finding]:
    """records, presences: by the device's id. told: sentences about copied cards, of the last day."""
    found = [
        Finding(
            "wrong",
            f"devices      {device} is there more than once ({', '.join(presence.twins)}): its card was copied",
            f"enrol the copy under an id of its own: `edgeagent enroll --force --id ...`; if it is a stranger, `edgeagent device revoke {device}`",
        )
        for device, presence in sorted(presences.items())
        if presence.twins
    ]
    found += [
        Finding(
            "warn",
            f"devices      {device} was kept out by the hub itself: {record.reason}",
            "somebody changed the software on it: look at the device, enrol it anew, and forget the old one",
        )
        for device, record in sorted(records.items())
        if record.revoked and record.reason == TAMPERED
    ]
    found += [
        Finding("warn", f"devices      {text}", f"look at both; `edgeagent device show {device}` says where it is now")
        for device, text in sorted((told or {}).items())
        if not (device in presences and presences[device].twins)
    ]
    return found or [Finding("good", f"devices      {len(records)} registered, none copied or tampered with as far as is known")]


async def stale(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Nothing when nobody answers: another check says so."""
    async with connected(place, "hub") as clients:
        if not clients:
            return []
        (client,) = clients
        roster = await read_roster(client, prefix=PREFIX)
        return silent(list(roster.devices.values()), roster.time)


def silent(devices: Sequence[Known], now: datetime) -> list[Finding]:
    """now: the hub's clock. Pure."""
    there = [known for known in devices if state_of(known, now) is not State.REVOKED]
    mute = [known.id for known in there if _is_linked(known) and state_of(known, now) is not State.ONLINE]
    away = [known.id for known in there if not _is_linked(known) and _is_away(known, now)]
    found = []
    if mute:
        text = f"{named(mute)}: linked, and nothing comes from there"
        remedy = "the agent hangs or was stopped while its leaf runs: `edgeagent doctor` on the device"
        found.append(Finding("warn", text, remedy, "silence"))
    if away:
        text = f"{named(away)}: away for more than {AWAY_DAYS} days"
        remedy = "look for it, or `edgeagent device forget` what will not come back; `edgeagent fleet ls` says since when"
        found.append(Finding("warn", text, remedy, "silence"))
    return found or [Finding("good", f"nobody is away for more than {AWAY_DAYS} days", check="silence")]


def _is_linked(known: Known) -> bool:
    return known.presence is not None and known.presence.online


def _is_away(known: Known, now: datetime) -> bool:
    """Who was never there is waited for from the day on which it was added."""
    since = known.last_seen
    if since is None and known.record and known.record.added:
        with contextlib.suppress(ValueError, OverflowError):
            since = parse_rfc3339(known.record.added)
    return since is not None and now - since > timedelta(days=AWAY_DAYS)
