"""The service that lets devices in (``provision.claim.<token id>``) and keeps them in (``….renew``).

Any number of instances may run, as one queue group: all that they know is in the store. What the subject says has been checked by
nats-server (a token's holder can publish on its own claim only, a device on its own renewal); everything else is checked here.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import nats.errors

from edgeagent import subjects
from edgeagent.enrolment import Admission, Renewed
from edgeagent.errors import Refused
from edgeagent.hub import events
from edgeagent.hub.claiming import Admitted, Claims, Revoke, read_claim
from edgeagent.hub.desk import Desk
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.renewing import Renewals, read_renewal
from edgeagent.hub.tokens import MAX_USES, WHAT, is_token_id
from edgeagent.link import Client
from edgeagent.ratelimit import RateLimit, RateLimits

__all__ = ["Provisioning"]

QUEUE = "edgeagent-provisioning"


class Provisioning:
    """hub, provision: connections to the accounts HUB and PROVISION with every right there.

    hub_name: what devices call it. authorities: PEM text of the hub's own certificate authorities, empty if it has none.
    revoke: keeps a key of the account FLEET out, and returns when it is; called for the board that another one replaces.
    clock: Unix seconds.
    """

    def __init__(
        self,
        hub: Client,
        provision: Client,
        keyring: Keyring,
        *,
        hub_name: str,
        authorities: Callable[[], str],
        revoke: Revoke,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hub, self._provision = hub, provision
        self._claims = Claims(hub, keyring, hub_name=hub_name, authorities=authorities, revoke=revoke, clock=clock)
        self._renewals = Renewals(hub, keyring, clock)
        # Of one token: all its devices may be switched on at once; one that loops is slowed down.
        self._claim_rates = RateLimits(20, MAX_USES, shared=4, remembered=1000)
        # Of one device, which should ask once in 60 days. All together: a fleet that was regrouped.
        self._renewal_rates = RateLimits(0.5, 10, shared=400, remembered=20_000)
        self._telling, self._untold = RateLimit(1, 1), 0
        self._desks = (
            Desk(WHAT, self._claim, _claim_inbox),
            Desk("renew", self._renew, subjects.agent_inbox),
            Desk("renew", self._renew),
        )
        self._subscriptions: list[Any] = []

    async def start(self) -> None:
        """Listen from now on."""
        claims, renewals, imported = self._desks
        for client, subject, desk in (
            (self._provision, subjects.claim("*"), claims),
            (self._provision, subjects.renewal("*"), renewals),
            # Through the service import comes a reply subject that nats-server made up.
            (self._hub, subjects.request_to_hub("*", "renew"), imported),
        ):
            self._subscriptions.append(await client.subscribe(subject, queue=QUEUE, cb=desk.heard))

    async def close(self) -> None:
        """Listen no more, and end what is being worked on."""
        for subscription in self._subscriptions:
            with contextlib.suppress(nats.errors.Error):  # the connection may be gone already
                await subscription.unsubscribe()
        self._subscriptions.clear()
        for desk in self._desks:
            await desk.close()

    async def _claim(self, token_id: str, data: bytes) -> Admission:
        try:
            if not self._claim_rates.allow(token_id):
                raise Refused(WHAT, "too many devices ask with this token at once", "try again in a minute")
            admitted = await self._claims.admit(token_id, read_claim(token_id, data))
        except Refused as error:
            await self._tell_refused(token_id, error)
            raise
        await self._tell(admitted)
        return admitted.admission

    async def _renew(self, device_id: str, data: bytes) -> Renewed:
        request = read_renewal(device_id, data)
        if not self._renewal_rates.allow(device_id):
            raise Refused(f"renew {device_id}", "it asks too often", "it tries again by itself")
        return await self._renewals.renew(device_id, request.key)

    async def _tell(self, admitted: Admitted) -> None:
        if not admitted.new:
            return
        device, token = admitted.admission.id, admitted.token
        how = "replaced by another board" if token.replaces else "enrolled"
        await events.tell(
            self._hub,
            "info",
            "device.enrolled",
            f"{device} was {how} with the token {token.id} of {token.created_by}",
            device=device,
            token=token.id,
            replaced=bool(token.replaces),
            groups=admitted.admission.groups,
        )

    async def _tell_refused(self, token_id: str, error: Refused) -> None:
        """At most one a second: whoever holds a token could fill the stream with them."""
        if not self._telling.allow():
            self._untold += 1
            return
        untold, self._untold = self._untold, 0
        token = token_id if is_token_id(token_id) else "of no valid id"
        await events.tell(
            self._hub,
            "warning",
            "device.claim_refused",
            f"a device was refused with the token {token}: {error.why}" + (f" (and {untold} more)" if untold else ""),
            token=token,
            why=error.why,
            untold=untold,
        )


def _claim_inbox(token_id: str) -> str:
    return f"_INBOX.{token_id}"
