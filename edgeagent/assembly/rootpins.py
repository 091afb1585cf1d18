"""Root's own copy of whom a device follows, taken when a person enrols or installs it: what upgrades obey (:mod:`edgeagent.upgrade.authority`).

Whoever has taken the agent over may have put an enrolment of their own into its folder. So at an enrolment the hub's answer counts, as
the process that got it says through a pipe, and not what the folder has afterwards.
"""

from __future__ import annotations

import os
import time

import msgspec

from edgeagent import enrolled
from edgeagent.enrolled import TRUST_FILE
from edgeagent.enrolment import Admission
from edgeagent.errors import EdgeError
from edgeagent.settings import Settings
from edgeagent.trust.pins import Pins, load
from edgeagent.upgrade import authority
from edgeagent.upgrade.places import Places

__all__ = ["Told", "heard", "lacks", "take_over", "tell"]

#: A few keys with their roles.
MAX_TOLD_BYTES = 1 << 20


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """id: the device's. pins: whom it follows."""

    id: str
    pins: Pins


def lacks(own: Settings, places: Places | None = None) -> bool:
    """Whether root has no pins although the device has some. Where one may not look, it does not."""
    try:
        pins = load(own.state_folder / TRUST_FILE)
        return not (places or Places()).signers.exists() and bool(pins.signers) and enrolled.read(own.state_folder) is not None
    except EdgeError:
        return False


def tell(pipe: int, admission: Admission) -> None:
    """To whom stayed root (:func:`heard`): what the hub has answered. Raises OSError."""
    with os.fdopen(pipe, "wb") as out:
        out.write(msgspec.json.encode(Told(id=admission.id, pins=Pins(signers=admission.signers))))


def heard(pipe: int) -> Told | None:
    """What the other one told before it ended; None: nothing, or nothing that makes sense."""
    with os.fdopen(pipe, "rb") as told:
        data = told.read(MAX_TOLD_BYTES)
    try:
        return msgspec.json.decode(data, type=Told) if data else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def take_over(own: Settings, places: Places | None = None, *, told: Told | None = None) -> bool:
    """Keep whom the device follows; whether that changed anything. Only for root, and only while a person stands behind it.

    told: by the hub just now, which goes before what root has. None: the pins of an earlier enrolment, and only where root has none yet:
    the files are the agent's user's, and later they may be anybody's.
    Nothing happens where edgeagent is not installed for the machine, or the device is nobody's.
    """
    places = places or Places()
    if os.geteuid() != 0 or not places.are_there or (places.signers.exists() and told is None):
        return False
    found = told or _enrolled(own)
    if found is None or not found.pins.signers:
        return False
    authority.adopt(places, own.device.id or found.id, found.pins, time.time())
    return True


def _enrolled(own: Settings) -> Told | None:
    found = enrolled.read(own.state_folder)
    return Told(id=found.id, pins=load(own.state_folder / TRUST_FILE)) if found else None
