"""One claim from its message to the admission: checked, counted, registered, signed.

Each step can be repeated: whoever claims again with the same key gets the same answer, also after a crash between two steps.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import NamedTuple

import msgspec

from edgeagent import wire
from edgeagent.enrolment import Admission, Claim, claim_proof
from edgeagent.errors import Failed, Refused
from edgeagent.hub import desk, register, tokens
from edgeagent.hub.authorities import split
from edgeagent.hub.bucket import TRIES, pause
from edgeagent.hub.cluster import ALONE, Cluster
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.registeredkeys import Keys
from edgeagent.hub.tokens import WHAT, Place
from edgeagent.hub.tokenstore import TokenStore
from edgeagent.link import Client
from edgeagent.times import rfc3339
from edgeagent.tokens import Token
from edgeagent.trust.nkeys import verify

__all__ = ["Admitted", "Claims", "read_claim"]

_MAX_MACS = 64
#: A serial number is what some firmware says: one line of printable ASCII.
_SERIAL = re.compile(r"[\x20-\x7e]{0,64}\Z")

#: Keep a key of the account FLEET out for good: its public key, and what the register says of its device.
Revoke = Callable[[str, wire.DeviceRecord], Awaitable[None]]


class Admitted(NamedTuple):
    """admission: the answer. token: what it was claimed with. new: it was not so already."""

    admission: Admission
    token: Token
    new: bool


def read_claim(token_id: str, data: bytes) -> Claim:
    """The claim in a message, whose sender has the seed of its key. Raises Refused."""
    if not tokens.is_token_id(token_id):
        raise Refused(WHAT, "the subject names no token")
    claim = desk.read(data, Claim, WHAT, "claim")
    if not verify(claim.key, claim_proof(token_id, claim), _signature(claim.proof)):
        raise Refused(WHAT, "the claim's signature is not that of its key")
    if (
        not _SERIAL.match(claim.serial)
        or len(claim.macs) > _MAX_MACS
        or not claim.device.isprintable()
        or len(claim.device) > 100
    ):
        raise Refused(WHAT, "the hub cannot read the claim's id, serial or MACs")
    return claim


def _signature(text: str) -> bytes:
    """Empty when it is none, which no signature is."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""


class Claims:
    """Answers claims. hub: a connection to the account HUB. authorities: PEM text of the hub's own, empty if it has none.

    clock: Unix seconds.
    """

    def __init__(
        self,
        hub: Client,
        keyring: Keyring,
        *,
        hub_name: str,
        authorities: Callable[[], str],
        revoke: Revoke,
        cluster: Cluster = ALONE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hub, self._keyring, self._hub_name = hub, keyring, hub_name
        self._authorities, self._revoke, self._clock, self._cluster = authorities, revoke, clock, cluster
        self._tokens = TokenStore(hub)
        self._keys = Keys(hub)
        # Only other instances need to be raced against; claims of this one wait for each other.
        self._counting = asyncio.Lock()

    def use(self, keyring: Keyring) -> None:
        """Sign with other keys from now on."""
        self._keyring = keyring

    async def admit(self, token_id: str, claim: Claim) -> Admitted:
        """Let the device in. Raises Refused with a sentence for the person at the device, another EdgeError when the hub is not well."""
        async with self._counting:
            token, place = await self._count(token_id, claim)
        try:
            record, jwt, new = await self._register(claim, token, place)
        except Refused:
            if not place.again:
                await self._tokens.change(token_id, lambda token: tokens.released(token, claim.key))
            raise
        if not place.settled:
            await self._tokens.change(token_id, lambda token: tokens.settled(token, claim.key))
        return Admitted(self._admission(record, jwt), token, new)

    async def _count(self, token_id: str, claim: Claim) -> tuple[Token, Place]:
        """Judge the claim by the newest token, and write the use down before anybody else changes it."""
        for number in range(TRIES):
            await pause(number)
            found = await self._tokens.find(token_id)
            boards = await self._tokens.boards(found[0]) if found else []
            place = tokens.place(found[0] if found else None, claim, boards, self._clock())
            assert found is not None  # or there were no place
            token, sequence = found
            if place.again:
                return token, place
            record = await register.find(self._hub, place.device)
            _check_record(record[0] if record else None, claim, token, place)
            await self._keys.check(claim.key, place.device)
            if await self._tokens.replace(tokens.counted(token, claim.key, place.device), sequence):
                return token, place
        raise Failed(WHAT, "too many devices claim at once", "try again in a minute")

    async def _register(self, claim: Claim, token: Token, place: Place) -> tuple[wire.DeviceRecord, str, bool]:
        """Write the device into the register; the record, its JWT, and whether this key is new there."""
        for number in range(TRIES):
            await pause(number)
            found = await register.find(self._hub, place.device)
            old = found[0] if found else None
            _check_record(old, claim, token, place)
            new = old is None or old.key != claim.key
            if new and old:
                await self._put_out(old, claim.key)
            record, jwt = register.issue(self._keyring, self._record(old, claim, place), int(self._clock()))
            if await register.bucket(self._hub).put(place.device, record, found[1] if found else 0, what=WHAT):
                return record, jwt, new
        raise Failed(WHAT, "its record in the register is changed all the time", "try again in a minute")

    async def _put_out(self, old: wire.DeviceRecord, key: str) -> None:
        """Revoke every key that the device had, but for ``key``. Before the new one is registered: else a crash in between would
        leave the old board a login that nobody looks for."""
        for other in register.keys_of(old):
            if other != key:
                await self._revoke(other, old)

    def _record(self, old: wire.DeviceRecord | None, claim: Claim, place: Place) -> wire.DeviceRecord:
        """What is to be registered, for :func:`edgeagent.hub.register.issue` to complete."""
        if old is None:
            added = rfc3339(datetime.fromtimestamp(self._clock(), timezone.utc))
            return wire.DeviceRecord(
                id=place.device, groups=place.groups, labels=place.labels, key=claim.key, serial=claim.serial, added=added
            )
        if old.key == claim.key:
            return old
        # The new board takes the old one's place: what the hub decided about the device stays, what concerned the old keys goes.
        # They are revoked for good; were they kept here, letting the device in again some day would let them in too.
        older = {key: ends for key, ends in register.keys_of(old).items() if key == claim.key}
        return msgspec.structs.replace(
            old,
            key=claim.key,
            serial=claim.serial,
            refused_until=0,
            issued_at=0,
            expires_at=0,
            older=older,
            as_of=0,
            revoked=False,
            reason="",
        )

    def _admission(self, record: wire.DeviceRecord, jwt: str) -> Admission:
        return Admission(
            id=record.id,
            jwt=jwt,
            renewal=self._keyring.renewal_jwt(record.id, record.key),
            hub=self._hub_name,
            signers=self._keyring.signers(),
            authorities=split(self._authorities()),
            groups=record.groups,
            labels=record.labels,
            servers=self._cluster.devices,
            websockets=self._cluster.websockets,
        )


def _check_record(record: wire.DeviceRecord | None, claim: Claim, token: Token, place: Place) -> None:
    """Raise Refused when the id is another board's, or this board was put out since the token let it in."""
    device = place.device
    if record and record.key == claim.key:
        if record.revoked:
            raise Refused(WHAT, f"{device} is revoked", f"`edgeagent device unrevoke {device}` lets it in again")
        return
    if place.settled:
        raise Refused(WHAT, f"it was {device} once, and was forgotten or replaced since", "ask for another token")
    if record is None and token.replaces:
        raise Refused(WHAT, f"there is no device {device} any more that it could replace", "ask for another token")
    if record and record.key and not token.replaces:
        raise Refused(
            WHAT,
            f"{device} is enrolled already, with another key",
            f"for a new board or card in its place: `edgeagent token create --replaces {device}`; "
            f"if it is gone for good: `edgeagent device forget {device}`",
        )
