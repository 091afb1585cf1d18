"""What `edgeagent hub doctor` says of devices: copied cards, and those that were kept out because they were tampered with."""

from __future__ import annotations

import contextlib

from edgeagent import wire
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.hubservices import sign_in
from edgeagent.errors import EdgeError
from edgeagent.hub import register
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.device_orders import TAMPERED
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.streams import PRESENCE_BUCKET

__all__ = ["devices", "findings"]


async def devices(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Nothing when nobody answers: another check says so."""
    try:
        client = await sign_in(place, Keyring.load(place.path), "hub")
    except EdgeError:
        return []
    try:
        presences = await Bucket(client, PRESENCE_BUCKET, wire.Presence).all()
        return findings(await register.every(client), {device: presence for device, (presence, _) in presences.items()})
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()


def findings(records: dict[str, wire.DeviceRecord], presences: dict[str, wire.Presence]) -> list[Finding]:
    """records, presences: by the device's id."""
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
    return found or [Finding("good", f"devices      {len(records)} registered, none copied or tampered with as far as is known")]
