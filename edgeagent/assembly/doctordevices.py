"""What `edgeagent hub doctor` says of devices: copied cards, and those that were kept out because they were tampered with."""

from __future__ import annotations

import contextlib

from edgeagent import subjects, wire
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.hubservices import sign_in
from edgeagent.direct import hub_time, read_all
from edgeagent.errors import EdgeError
from edgeagent.hub import register
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.device_orders import TAMPERED
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.streams import PRESENCE_BUCKET
from edgeagent.link import Client

__all__ = ["devices", "findings"]

DAY_SECONDS = 86_400


async def devices(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Nothing when nobody answers: another check says so."""
    try:
        client = await sign_in(place, Keyring.load(place.path), "hub")
    except EdgeError:
        return []
    try:
        presences = await Bucket(client, PRESENCE_BUCKET, wire.Presence).all()
        known = {device: presence for device, (presence, _) in presences.items()}
        return findings(await register.every(client), known, await _told_of_twins(client))
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()


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
