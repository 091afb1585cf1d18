"""What the doctor says of devices."""

from __future__ import annotations

from edgeagent import wire
from edgeagent.assembly.doctordevices import findings
from edgeagent.hub.device_orders import TAMPERED


def test_copied_cards_and_tampered_devices_are_named() -> None:
    records = {
        "pi-1": wire.DeviceRecord(id="pi-1"),
        "pi-2": wire.DeviceRecord(id="pi-2", revoked=True, reason=TAMPERED),
        "pi-3": wire.DeviceRecord(id="pi-3", revoked=True, reason="lost"),
    }
    presences = {"pi-1": wire.Presence(online=True, since="", twins=["pi-1-aa", "pi-1-bb"])}
    found = findings(records, presences)
    assert [(finding.level, finding.text.split()[1]) for finding in found] == [("wrong", "pi-1"), ("warn", "pi-2")]
    assert "pi-1-aa, pi-1-bb" in found[0].text


def test_nothing_is_said_to_be_good_too() -> None:
    (found,) = findings({"pi-1": wire.DeviceRecord(id="pi-1")}, {"pi-1": wire.Presence(online=True, since="")})
    assert found.good
    assert "1 registered" in found.text
