"""Makes the accounts at the server what the hub's keys, options and revocations say they are. Any number of instances may run.

Level-triggered: what is wanted is signed anew each time and compared with what the server has; what differs is pushed. So nothing is
lost when the hub dies between a decision and its push, or when the server loses the folder where it keeps the accounts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.hub import leafs, refusals
from edgeagent.hub.accounts import ACCOUNTS, Account
from edgeagent.hub.keyring import SERVICES, Keyring
from edgeagent.hub.runningclock import RunningClock
from edgeagent.link import Client, request
from edgeagent.runtime import jittered
from edgeagent.trust import jwt

__all__ = ["AccountsKeeper", "differs", "differs_beside_revocations"]

log = logging.getLogger("edgeagent.hub")

#: How often to look unasked, in seconds.
LOOK_SECONDS = 60.0
#: The pause after something went wrong, in seconds.
RETRY_SECONDS = 5.0
#: At least so long from push to push, in seconds: each costs the server 0.2 s of CPU with 1,000 leafs, 2.7 s with 5,000.
PACE_SECONDS = 1.0
#: How long a server may take over a push, in seconds.
PUSH_SECONDS = 30.0
#: Leafs that are made to link anew at once, and the pause before the next ones, in seconds.
BATCH, BATCH_SECONDS = 50, 0.5
#: Looks in a row that may end with a push: others that decide something meanwhile are one reason for another.
LOOKS = 5

#: Exporters before importers.
_ORDER: tuple[Account, ...] = ("HUB", "OPS", "PROVISION", "FLEET", "SYS")
assert set(_ORDER) == set(ACCOUNTS)

#: After any change of these but revocations nats-server 2.15.1 takes away the subscriptions of every leaf in FLEET, which imports from
#: them ("Removed sub ... not authorized"); the links stay up and carry nothing down. New links are whole.
_DEAFENING = ("HUB", "OPS")

Signed = dict[Account, "tuple[str, str]"]
#: By account: public user key -> the second up to which its JWTs are refused.
_Refused = Mapping[str, Mapping[str, int]]


class AccountsKeeper:
    """system, hub: connections to SYS and HUB. micro: as in :class:`edgeagent.hub.folder.HubOptions`.

    templates: it says what accounts and roles may do. Of several instances only one does, the one that runs nats-server: two of other
    options or another version would push against each other for ever. The others change only who is kept out, in what is there.
    """

    def __init__(self, system: Client, hub: Client, keyring: Keyring, *, micro: bool, templates: bool = True) -> None:
        self._system, self._keyring, self._micro, self._templates = system, keyring, micro, templates
        self._refusals = refusals.Refusals(hub, RunningClock(hub), own=self._own_keys, now=time.time)
        self._wanted, self._deaf = asyncio.Event(), False
        self._next: asyncio.Future[None] | None = None
        self._one = asyncio.Lock()
        self._pushed = float("-inf")

    def use(self, keyring: Keyring) -> None:
        """Sign with other keys from now on: the hub's owner exchanged some."""
        self._keyring = keyring
        self.wake()

    def wake(self) -> None:
        """Look soon: something may have changed, or was away."""
        self._wanted.set()

    async def run(self) -> None:
        """Look every minute or so, and when it was woken, for ever."""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), jittered(LOOK_SECONDS))
            self._wanted.clear()
            try:
                await self.apply()
                await self._relink()
            except EdgeError as error:
                log.warning("%s", error)
                await asyncio.sleep(jittered(RETRY_SECONDS))
                self.wake()

    async def apply(self) -> None:
        """Make it true now. What was decided before the call counts when this returns.

        Calls that come while others wait share one look, and so one push. Raises EdgeError when the store or the server does not answer.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(self._turn())
        await asyncio.shield(self._next)

    async def _turn(self) -> None:
        try:
            async with self._one:
                await self._pace()
                self._next = None  # whoever comes from now on may have decided what this look does not see
                await self._until_true()
        finally:
            if self._next is asyncio.current_task():
                self._next = None

    async def _until_true(self) -> None:
        """Look again after each push: another instance may have pushed what it knew a moment before we did."""
        for _ in range(LOOKS):
            if not await self._look():
                return
        log.warning("the accounts at the server differ again and again from what they should be; does another hub push too?")

    async def _look(self) -> bool:
        """Push what differs; whether anything did."""
        known = await self._refusals.read()
        actual = {account: await self._actual(account) for account in _ORDER}
        now = time.time()
        # Later than what is there, so that the servers of a cluster agree about which one counts.
        issued_at = max([int(now), *(int(claims.get("iat", 0)) + 1 for claims in actual.values() if claims)])
        at_server: dict[str, dict[str, int]] = {
            account: claims["nats"].get("revocations", {}) for account, claims in actual.items() if claims
        }
        refused = await self._refusals.in_force(known, at_server)
        wanted = self._signed(actual, refused, issued_at)
        changed = [account for account in wanted if differs(actual[account], jwt.claims(wanted[account][1]))]
        for account in changed:
            await self._pace()
            await self._push(account, wanted[account][1])
            if account in _DEAFENING and differs_beside_revocations(actual[account], jwt.claims(wanted[account][1])):
                self._deaf = True
                self.wake()
        return bool(changed)

    def _signed(self, actual: Mapping[Account, jwt.Claims | None], refused: _Refused, issued_at: int) -> Signed:
        """What is wanted of every account that is ours to change, in the order in which to push it."""
        if self._templates:
            signed = self._keyring.account_jwts(micro=self._micro, revocations=refused, issued_at=issued_at)
            return {account: signed[account] for account in _ORDER}
        return {
            account: (str(claims["sub"]), self._keyring.with_revocations(claims, refused.get(account, {}), issued_at))
            for account, claims in actual.items()
            if claims is not None
        }

    def _own_keys(self) -> set[str]:
        return {self._keyring.service_credentials(service).public_key for service in SERVICES}

    async def _actual(self, account: Account) -> jwt.Claims | None:
        """What the server has; None when it has none, or one that is not ours."""
        what = f"look at the account {account}"
        subject = f"$SYS.REQ.ACCOUNT.{self._keyring.account_public(account)}.CLAIMS.LOOKUP"
        answer = await request(self._system, subject, what=what)
        if not answer.data:
            return None
        try:
            return jwt.decode(answer.data.decode(), issuers=self._keyring.issuers())
        except (EdgeError, UnicodeDecodeError) as error:
            log.error("the server's account %s is not ours, so it is replaced: %s", account, error)
            return None

    async def _push(self, account: Account, token: str) -> None:
        what = f"push the account {account}"
        # The server itself takes one of another operator and says that all is well, and nobody can log in any more (2.15.1).
        claims = jwt.decode(token, issuers=self._keyring.issuers())
        if claims.get("sub") != self._keyring.account_public(account):
            raise Refused(what, "it is about another account")
        answer = await request(self._system, "$SYS.REQ.CLAIMS.UPDATE", token.encode(), what=what, timeout=PUSH_SECONDS)
        self._pushed = asyncio.get_running_loop().time()
        _check(answer.data, what)
        log.info("pushed the account %s (%d keys revoked)", account, len(claims["nats"].get("revocations", {})))

    async def _pace(self) -> None:
        await asyncio.sleep(max(0.0, self._pushed + PACE_SECONDS - asyncio.get_running_loop().time()))

    async def _relink(self) -> None:
        """End every device's link once after a push that may have made them deaf; they come back by themselves."""
        if not self._deaf:
            return
        await self._pace()  # the servers of a cluster take a moment
        self._deaf = False
        try:
            found = await leafs.listed(self._system, self._keyring.account_public("FLEET"))
            log.info("the rights of roles or accounts changed: %d links are made anew", len(found))
            for start in range(0, len(found), BATCH):
                for leaf in found[start : start + BATCH]:
                    await leafs.kick(self._system, leaf, what="make a link anew")
                await asyncio.sleep(jittered(BATCH_SECONDS))
        except EdgeError:
            self._deaf = True
            raise


def differs(actual: jwt.Claims | None, wanted: jwt.Claims) -> bool:
    """Whether what the server has says something else; who signed it when does not matter. actual: None: it has nothing."""
    return actual is None or actual["nats"] != wanted["nats"]


def differs_beside_revocations(actual: jwt.Claims | None, wanted: jwt.Claims) -> bool:
    """Like :func:`differs`, revocations aside."""
    return actual is None or _without_revocations(actual) != _without_revocations(wanted)


def _without_revocations(claims: jwt.Claims) -> dict[str, Any]:
    return {key: value for key, value in claims["nats"].items() if key != "revocations"}


def _check(data: bytes, what: str) -> None:
    """Raise Failed unless the server took the JWT."""
    try:
        answer = json.loads(data)
    except ValueError:
        raise Failed(what, "the server's answer makes no sense") from None
    error, done = answer.get("error"), answer.get("data") or {}
    if error or done.get("code") != 200:
        raise Failed(what, str((error or done).get("description") or (error or done)))
