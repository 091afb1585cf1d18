"""Whether devices follow what is signed, as a person's machine can tell: by the role keys that came with the login, as devices have them.

The keys lie beside the context, in the form of a device's trust.json, and are followed through the signers' document by the same code.
So whoever can write to the hub's store can withhold a change of them, but not make one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgeagent import files
from edgeagent.actions import printable
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError, Failed
from edgeagent.fleet import signers
from edgeagent.link import Client
from edgeagent.subjects import Scope
from edgeagent.trust.pins import Pins, load
from edgeagent.trust.signed import Revoked, check, peek, self_consistent
from edgeagent.trust.signers import followed

__all__ = ["HOW", "RoleKeys", "Verdict", "judged"]

log = logging.getLogger("edgeagent")

#: Characters of what is told.
MAX_TOLD = 500
#: How to get the keys.
HOW = "have `edgeagent operator add` make you a new file, and run `edgeagent context import` with it"


class Verdict(NamedTuple):
    """by: who signed it, and with which public key; empty where that is not proven. actions: what the signer is limited to; none: not limited.

    problem: why devices do not follow it; empty if they do, or if nobody can tell. whole: it is signed by the login that it carries,
    whoever made that. revoked: that login is of a role key that counts, and was revoked since.
    """

    by: str = ""
    actions: tuple[str, ...] = ()
    problem: str = ""
    whole: bool = False
    revoked: bool = False
    key: str = ""


def judged(data: bytes, *, kind: str, scope: Scope, pins: Pins | None) -> Verdict:
    """What a device that trusts ``pins`` would say of a signed document or entry. Pure; never raises.

    pins: None: nobody told this machine whom to trust. Then a login that somebody made for themselves looks like any other.
    """
    try:
        if pins is None:
            return Verdict(by=self_consistent(peek(data)), whole=True)
        found = check(data, kind=kind, scope=scope, pins=pins)
    except EdgeError as error:
        return Verdict(problem=error.why, whole=_is_whole(data), revoked=isinstance(error, Revoked))
    return Verdict(by=found.signer, actions=found.actions, whole=True, key=found.key)


def _is_whole(data: bytes) -> bool:
    try:
        self_consistent(peek(data))
    except EdgeError:
        return False
    return True


class RoleKeys:
    """The role keys in ``file``; None: the context has none."""

    def __init__(self, file: Path | None) -> None:
        self._file, self._told = file, ""

    async def refresh(self, client: Client) -> Pins | None:
        """Follow what the hub has of who may sign, if these keys say so; what counts then. None when there are no keys.

        client: a person's connection. Raises EdgeError when the hub does not answer, or the keys are damaged.
        """
        before = self._kept()
        return before and self._followed(before, await signers.stored(client))

    async def current(self, client: Client) -> Pins | None:
        """The same; that there are none is said once."""
        pins = await self.refresh(client)
        if pins is None:
            self._tell(f"who signed what the hub shows cannot be checked: this context has no role keys; {HOW}")
        return pins

    def _kept(self) -> Pins | None:
        if self._file is None:
            return None
        try:
            pins = load(self._file)
        except Failed as error:
            raise Failed(error.what, error.why, HOW) from None
        return pins if pins.signers else None

    def _followed(self, before: Pins, stored: Stored | None) -> Pins:
        try:
            after = followed(before, stored.data) if stored else before
        except EdgeError as error:
            self._tell(f"what the hub says of who may sign is not followed: {error.why}")
            return before
        if self._file is not None and after != before:
            try:
                files.write_atomic(self._file, msgspec.json.encode(after) + b"\n", 0o600)
            except EdgeError as error:  # no room: it counts all the same, and is followed again the next time
                self._tell(f"who may sign is not kept: {error.why}")
        return after

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            log.warning("%s", printable(text, MAX_TOLD))  # what the hub shows must not move the cursor
