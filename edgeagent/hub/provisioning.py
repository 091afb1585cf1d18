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
from edgeagent.direct import in_our_words
from edgeagent.enrolment import NO_ID, Admission, Renewed
from edgeagent.errors import Refused
from edgeagent.hub import events
from edgeagent.hub.claiming import Admitted, Claims, Revoke, read_claim
from edgeagent.hub.cluster import ALONE, Cluster
from edgeagent.hub.desk import PENDING_BYTES, PENDING_MESSAGES, Desk, Flooded
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.renewing import Renewals, read_renewal
from edgeagent.hub.tokens import MAX_USES, WHAT, is_token_id
from edgeagent.link import Client
from edgeagent.ratelimit import RateLimit, RateLimits

__all__ = ["Provisioning"]

QUEUE = "edgeagent-provisioning"


class Provisioning:
    """hub, provision: connections to the accounts HUB and PROVISION with every right there.

    requests: another one to HUB, on which devices' requests come in. Nothing else may depend on it, nor on ``provision``: what floods
    them holds up nobody else. flooded: told which device goes on asking although it is not answered.
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
        requests: Client,
        hub_name: str,
        authorities: Callable[[], str],
        revoke: Revoke,
        cluster: Cluster = ALONE,
        flooded: Flooded | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hub, self._provision, self._requests = hub, provision, requests
        self._claims = Claims(
            hub, keyring, hub_name=hub_name, authorities=authorities, revoke=revoke, cluster=cluster, clock=clock
        )
        self._renewals = Renewals(hub, keyring, clock)
        # Of one token: all its devices may be switched on at once; one that loops is slowed down.
        claim_rates = RateLimits(20, MAX_USES, shared=4, remembered=1000)
        # Of one device, which should ask once in 60 days. All together: a fleet that was regrouped.
        renewal_rates = RateLimits(0.5, 10, shared=400, remembered=20_000)
        # Whoever holds a token could wipe the hub's warnings out of the stream with refusals: one an hour of each, and ten a minute.
        self._telling, self._telling_all = RateLimits(1 / 3600, 1, shared=100_000, remembered=1000), RateLimit(10 / 60, 10)
        self._untold = 0
        self._desks = (
            Desk(WHAT, self._claim, _claim_inbox, rates=claim_rates),
            Desk("renew", self._renew, subjects.agent_inbox, rates=renewal_rates, flooded=flooded),
            Desk("renew", self._renew, rates=renewal_rates, flooded=flooded),
        )
        self._subscriptions: list[Any] = []

    async def start(self) -> None:
        """Listen from now on. Raises EdgeError when a connection is gone."""
        with in_our_words("answer claims and renewals"):
            await self._listen()

    async def _listen(self) -> None:
        claims, renewals, imported = self._desks
        for client, subject, desk in (
            (self._provision, subjects.claim("*"), claims),
            (self._provision, subjects.renewal("*"), renewals),
            # Through the service import comes a reply subject that nats-server made up.
            (self._requests, subjects.request_to_hub("*", "renew"), imported),
        ):
            self._subscriptions.append(
                await client.subscribe(
                    subject,
                    queue=QUEUE,
                    cb=desk.heard,
                    pending_msgs_limit=PENDING_MESSAGES,
                    pending_bytes_limit=PENDING_BYTES,
                )
            )

    def use(self, keyring: Keyring) -> None:
        """Sign with other keys from now on: the hub's owner exchanged some."""
        self._claims.use(keyring)
        self._renewals.use(keyring)

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
            admitted = await self._claims.admit(token_id, read_claim(token_id, data))
        except Refused as error:
            await self._tell_refused(token_id, error)
            raise
        await self._tell(admitted)
        return admitted.admission

    async def _renew(self, device_id: str, data: bytes) -> Renewed:
        request = read_renewal(device_id, data)
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
        if error.why.startswith(NO_ID):  # the device asks again by itself, with an id
            return
        if not (self._telling_all.open and self._telling.allow(token_id) and self._telling_all.allow()):
            self._untold += 1
            return
        untold, self._untold = self._untold, 0
        token = token_id if is_token_id(token_id) else "of no valid id"
        await events.tell(
            self._hub,
            "info",
            "device.claim_refused",
            f"a device was refused with the token {token}: {error.why}" + (f" (and {untold} more)" if untold else ""),
            token=token,
            why=error.why,
            untold=untold,
        )


def _claim_inbox(token_id: str) -> str:
    return f"_INBOX.{token_id}"
