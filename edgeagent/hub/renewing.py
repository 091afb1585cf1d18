"""A new JWT for a device that has one already, or had one."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgeagent import subjects
from edgeagent.enrolment import Renewal, Renewed
from edgeagent.errors import Refused
from edgeagent.hub import desk, register
from edgeagent.hub.keyring import Keyring
from edgeagent.link import Client
from edgeagent.wire import DeviceRecord

__all__ = ["Renewals", "check", "read_renewal"]


def read_renewal(device_id: str, data: bytes) -> Renewal:
    """The request in a message. Raises Refused."""
    what = "renew the credentials"
    if not subjects.is_id(device_id):  # a tampered leaf can publish with a literal asterisk in its subject (nats-server 2.15.1)
        raise Refused(what, "the subject names no device")
    return desk.read(data, Renewal, what, "request")


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
        jwt = ""

        def made(found: DeviceRecord | None) -> DeviceRecord:
            nonlocal jwt
            record, jwt = register.issue(self._keyring, check(found, device_id, key), int(self._clock()))
            return record

        await register.bucket(self._hub).change(device_id, made, what=f"renew {device_id}")
        return Renewed(jwt=jwt, renewal=self._keyring.renewal_jwt(device_id, key))
