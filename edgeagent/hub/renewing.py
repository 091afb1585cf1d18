"""A new JWT for a device that has one already, or had one."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from edgeagent import subjects
from edgeagent.enrolment import Renewal, Renewed
from edgeagent.errors import Failed, Refused
from edgeagent.hub import register
from edgeagent.hub.desk import MAX_BYTES
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.tokenstore import ATTEMPTS, pause
from edgeagent.link import Client
from edgeagent.trust.nkeys import is_public
from edgeagent.wire import DeviceRecord

__all__ = ["MAX_BYTES", "Renewals", "check", "read_renewal"]


def read_renewal(device_id: str, data: bytes) -> Renewal:
    """The request in a message. Raises Refused."""
    what = "renew the credentials"
    if not subjects.is_id(device_id):  # a tampered leaf can publish with a literal asterisk in its subject (nats-server 2.15.1)
        raise Refused(what, "the subject names no device")
    if len(data) > MAX_BYTES:
        raise Refused(what, f"the request is longer than {MAX_BYTES} bytes")
    try:
        renewal = msgspec.json.decode(data, type=Renewal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(what, "the hub cannot read the request", "is edgeagent on this device much older or newer?") from None
    if not is_public(renewal.key, "user"):
        raise Refused(what, "the request has no public user key")
    return renewal


def check(record: DeviceRecord | None, device_id: str, key: str) -> DeviceRecord:
    """The record of the device that may renew with ``key``. Raises Refused. record: None: there is no such device."""
    what = f"renew {device_id}"
    if record is None:
        raise Refused(what, "it was forgotten", "enrol it again: `edgeagent enroll` with a new token")
    if record.key != key:
        raise Refused(what, "another board took over this id", "enrol this one with a token of its own")
    if record.revoked:
        raise Refused(what, "it is revoked", f"`edgeagent device unrevoke {device_id}` lets it in again")
    return record


class Renewals:
    """Answers requests to renew. hub: a connection to the account HUB. clock: Unix seconds.

    Nobody has to prove that he has the key: the JWT is of no use without it.
    """

    def __init__(self, hub: Client, keyring: Keyring, clock: Callable[[], float] = time.time) -> None:
        self._hub, self._keyring, self._clock = hub, keyring, clock

    def use(self, keyring: Keyring) -> None:
        """Sign with other keys from now on."""
        self._keyring = keyring

    async def renew(self, device_id: str, key: str) -> Renewed:
        """Sign anew for what the register says now. Raises Refused, another EdgeError when the hub is not well."""
        for attempt in range(ATTEMPTS):
            found = await register.find(self._hub, device_id)
            old = check(found[0] if found else None, device_id, key)
            assert found is not None  # check has refused it
            record, jwt = register.issue(self._keyring, old, int(self._clock()))
            try:
                await register.replace(self._hub, record, found[1])
            except Refused:  # somebody changed it just now: look again
                await pause(attempt)
                continue
            return Renewed(jwt=jwt, renewal=self._keyring.renewal_jwt(device_id, key))
        raise Failed(f"renew {device_id}", "its record in the register is changed all the time", "it tries again by itself")
