"""Root's own copy of whom a device follows, taken when a person enrols or installs it: what upgrades obey (:mod:`edgeagent.upgrade.authority`)."""

from __future__ import annotations

import os
import time

from edgeagent import enrolled
from edgeagent.enrolled import TRUST_FILE
from edgeagent.errors import EdgeError
from edgeagent.settings import Settings
from edgeagent.trust.pins import load
from edgeagent.upgrade import authority
from edgeagent.upgrade.places import Places

__all__ = ["lacks", "take_over"]


def lacks(own: Settings, places: Places | None = None) -> bool:
    """Whether root has no pins although the device has some. Where one may not look, it does not."""
    try:
        pins = load(own.state_folder / TRUST_FILE)
        return not (places or Places()).signers.exists() and bool(pins.signers) and enrolled.read(own.state_folder) is not None
    except EdgeError:
        return False


def take_over(own: Settings, places: Places | None = None, *, anew: bool = False) -> bool:
    """Take the pins of the device's enrolment over; whether that changed anything.

    Only for root, and only while a person stands behind it: the files are the agent's user's, and later they may be anybody's.
    anew: also where root has some, for the device was just enrolled. Nothing happens where edgeagent is not installed for the machine, or the device is nobody's.
    """
    places = places or Places()
    if os.geteuid() != 0 or not places.are_there or (places.signers.exists() and not anew):
        return False
    found, pins = enrolled.read(own.state_folder), load(own.state_folder / TRUST_FILE)
    if found is None or not pins.signers:
        return False
    authority.adopt(places, own.device.id or found.id, pins, time.time())
    return True
