"""Whom root follows when something is to be installed: the device's pins, kept once more where the agent's user cannot write.

Whoever has a wheel installed as root owns the machine. So the agent is not believed: an administrator's or operator's signature is
checked here again, over the very command, by pins that root took when the device was enrolled and that only signed documents change.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from edgeagent import files
from edgeagent.command import entry_of, is_made_by
from edgeagent.errors import Failed, Refused
from edgeagent.subjects import Scope
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import SKEW_SECONDS, check, peek
from edgeagent.trust.signers import followed
from edgeagent.upgrade.places import Places

__all__ = ["ACTION", "MAX_AGE_SECONDS", "Authority", "Order", "adopt", "load", "ordered", "renewed"]

ACTION = "agent.upgrade"
WHAT = "upgrade"
#: The longest that such a command is good for, in seconds.
MAX_AGE_SECONDS = 7 * 86_400


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """``signers.json``. id: this device's. since: when root took the pins; last: when the newest command that was followed was signed; what
    was signed before is not followed (any more). Both Unix seconds."""

    id: str
    pins: Pins
    since: int = 0
    last: int = 0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What was signed. id: the command's. args: as they stand there. at: Unix seconds."""

    id: str
    signer: str
    at: int
    args: dict[str, Any]


def load(places: Places) -> Authority:
    """Raises Refused when root has no pins, Failed when they are damaged."""
    data = files.read_if_there(places.signers)
    remedy = "on the device: `sudo edgeagent install` takes those of its enrolment over"
    if data is None:
        raise Refused(WHAT, "root on this device knows nobody who may sign it", remedy)
    try:
        return msgspec.json.decode(data, type=Authority)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failed(f"read {places.signers}", f"it is damaged ({error})", remedy) from None


def keep(places: Places, authority: Authority) -> None:
    files.write_atomic(places.signers, msgspec.json.format(msgspec.json.encode(authority)) + b"\n")


def adopt(places: Places, device_id: str, pins: Pins, now: float) -> None:
    """Take over the pins of an enrolment that was just made. To be called by root, and only when a person enrols or installs."""
    keep(places, Authority(id=device_id, pins=pins, since=int(now)))


def renewed(authority: Authority, document: str) -> Authority:
    """With the newest document of who may sign, which the hub has; one that proves nothing changes nothing: it may be withheld anyway."""
    with contextlib.suppress(Refused, Failed):
        return msgspec.structs.replace(authority, pins=followed(authority.pins, document.encode()))
    return authority


def ordered(authority: Authority, envelope: bytes, now: float) -> Order:
    """The upgrade that was commanded. Raises Refused or Failed when this must not be followed by this device, now."""
    said = peek(envelope)
    scope = _scope(said.scope)
    found = check(envelope, kind="command", scope=scope, pins=authority.pins)
    entry = entry_of(found.body)
    if entry.action != ACTION or not found.may(ACTION):
        raise Refused(WHAT, f"{found.signer} may not order it" if entry.action == ACTION else "another command was signed")
    if (scope.kind == "device" and scope.name != authority.id) or (
        entry.target.devices and authority.id not in entry.target.devices
    ):
        raise Refused(WHAT, f"it was signed for another device than {authority.id}")
    if not is_made_by(entry.id, found.key):
        raise Refused(WHAT, f"its id was not made by {found.signer}")
    if now > min(entry.not_after, found.at + MAX_AGE_SECONDS) + SKEW_SECONDS:
        raise Refused(WHAT, "it has expired")
    if found.at < max(authority.since - SKEW_SECONDS, authority.last):
        raise Refused(WHAT, "it was signed before the last one that was carried out, or before this device was enrolled")
    return Order(id=entry.id, signer=found.signer, at=found.at, args=entry.args)


def _scope(text: str) -> Scope:
    kind, _, name = text.partition(".")
    return Scope(kind, name)
