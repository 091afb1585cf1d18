"""Keeps the device's credentials good while the agent runs: does what :mod:`edgeagent.assembly.renewal` decides.

The seed stays what it is: a renewed JWT is for the same key, so no crypto library is loaded for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeagent import files, subjects
from edgeagent.assembly.reach import endpoint, silence
from edgeagent.assembly.renewal import LINK_SECONDS, LOOK_SECONDS, Situation, Step, decide, is_outdated, renew_at
from edgeagent.backoff import delays
from edgeagent.enrolled import RENEWAL_FILE
from edgeagent.enrolment import Renewal, Renewed
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.linkfailures import explain
from edgeagent.leaf.uplink import ask_hub
from edgeagent.link import Client
from edgeagent.natsserver import logtail
from edgeagent.services import result
from edgeagent.settings import Settings
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials
from edgeagent.wire import DeviceRecord, encode

__all__ = ["Renewer", "first_credentials", "known"]

log = logging.getLogger(__name__)

WHAT = "renew this device's credentials"
#: The longest pause after a failure, as so many times the first one.
CAP = 20
#: For an answer, and for the link of a visit: a leaf's dial takes 10 s at most. In seconds.
ANSWER_SECONDS, VISIT_SECONDS = 10.0, 15.0


def first_credentials(settings: Settings, now: float) -> Path:
    """With which file the leaf should begin: the renewal credentials when the device's own are missing or have expired by the clock.

    now: Unix seconds.
    """
    own, renewal = settings.credentials_file, settings.state_folder / RENEWAL_FILE
    login = known(own)
    expired = login is None or (login.expires_at is not None and login.expires_at <= now)
    return renewal if expired and known(renewal) is not None else own


def known(path: Path) -> Credentials | None:
    """The credentials in a file, None when there are none that could be used; why not is said where they are used."""
    try:
        found = creds.unchecked(path)
        return found if found.public_key else None
    except EdgeError:
        return None


class Renewer:
    """Renews the credentials of one device.

    client: the agent's connection to ``leaf``. tell: called whenever something that people are shown may have changed.
    clock: Unix seconds. monotonic: seconds.
    """

    def __init__(
        self,
        leaf: Leaf,
        client: Client,
        settings: Settings,
        device_id: str,
        *,
        tell: Callable[[Renewer], None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leaf, self._client, self._settings, self._id = leaf, client, settings, device_id
        self._tell, self._clock, self._monotonic = tell, clock, monotonic
        #: The first pause after a failure, in seconds.
        self.retry_seconds = settings.hub.renew_retry_seconds
        self._own, self._renewal = settings.credentials_file, settings.state_folder / RENEWAL_FILE
        #: The leaf uses the renewal credentials: whatever link it has is of no use for anything else.
        self.visiting = leaf.options.credentials == self._renewal
        #: Why the last try failed; None when it did not, or was none.
        self.problem: EdgeError | None = None
        self._wanted = self._linked = self._refused = self._redialled = False
        self._unlinked_since = monotonic()
        self._reachable_since: float | None = None
        self._ask_at = self._visit_at = float("-inf")
        self._ask_pauses, self._visit_pauses = self._pauses(), self._pauses()
        self._news = asyncio.Event()

    def _pauses(self) -> Iterator[float]:
        return delays(self.retry_seconds, self.retry_seconds * CAP, jitter=0.5)

    # ---- what others tell it ----

    async def record_changed(self, record: DeviceRecord) -> None:
        """What the hub's register says of this device now."""
        login = known(self._own)
        if login is not None and is_outdated(login, record):
            self.wanted()

    def wanted(self) -> None:
        """Renew now, as soon as there is a link."""
        self._wanted, self._ask_at = True, float("-inf")
        self._ask_pauses = self._pauses()
        self._news.set()

    def link_changed(self, linked: bool) -> None:
        """The leaf was linked to the hub, or cut off."""
        self._linked = linked
        self._unlinked_since = self._monotonic()
        self._reachable_since = None
        if linked and not self.visiting:
            self._refused, self.problem = False, None
            self._visit_at, self._visit_pauses = float("-inf"), self._pauses()
            self._tell(self)
        self._news.set()

    def link_refused(self) -> None:
        """The hub took the leaf's connection and turned it away."""
        self._refused = True
        self._news.set()

    # ---- what it does ----

    async def keep(self) -> None:
        """Renew whenever it is time, for ever."""
        while True:
            self._news.clear()
            await self._look_for_the_hub()
            step, pause = decide(self._situation())
            if step is Step.ASK:
                await self._ask()
            elif step is Step.REDIAL:
                await self._redial()
            elif step is Step.VISIT:
                await self._visit()
            else:
                await self._until_news(pause)

    def _situation(self) -> Situation:
        login, now, moment = known(self._own), self._clock(), self._monotonic()
        can_visit = bool(self._leaf.options.hub_urls) and known(self._renewal) is not None
        return Situation(
            now=now,
            renew_at=renew_at(login) if login else None,
            expires_at=login.expires_at if login else None,
            missing=login is None,
            wanted=self._wanted,
            linked=self._linked and not self.visiting,
            unlinked_for=moment - self._unlinked_since,
            reachable_for=None if self._reachable_since is None else moment - self._reachable_since,
            refused=self._refused,
            redialled=self._redialled,
            can_visit=can_visit,
            ask_in=self._ask_at - moment,
            visit_in=self._visit_at - moment,
            reconnect_seconds=self._settings.leaf.reconnect_seconds,
        )

    async def _until_news(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), max(0.0, seconds))

    async def _look_for_the_hub(self) -> None:
        """Learn whether the hub's address takes connections, where that tells something: it costs the hub one."""
        seen = self._situation()
        if seen.linked or seen.is_expired or seen.refused or not seen.can_visit or seen.unlinked_for < LINK_SECONDS:
            return
        silences = [await silence(*endpoint(url, self._settings.hub.proxy)) for url in self._leaf.options.hub_urls]
        if all(silences):
            self._reachable_since = None
        elif self._reachable_since is None:
            self._reachable_since = self._monotonic()

    async def _redial(self) -> None:
        """The leaf was started before its network was there, or was turned away before we listened: either shows now."""
        self._redialled = True
        try:
            await self._leaf.redial()
        except EdgeError as error:
            log.info("%s", error)

    async def _ask(self) -> None:
        """Renew over the link."""
        try:
            await self._take(subjects.request_to_hub(self._id, "renew"))
        except EdgeError as error:
            self._failed(error)
            self._ask_at = self._monotonic() + next(self._ask_pauses)
            return
        self._succeeded()
        if self._situation().is_due:  # by a clock that is wrong
            self._ask_at = self._monotonic() + next(self._ask_pauses)
        else:
            self._ask_pauses = self._pauses()
        try:
            await self._leaf.redial()  # before the hub cuts it off for its old JWT
        except EdgeError as error:
            log.info("the leaf takes the new credentials at its next dial: %s", error.why)

    async def _visit(self) -> None:
        """Renew with the renewal credentials, and go back to the device's own, renewed or not."""
        self.visiting, self._refused = True, False
        self._tell(self)
        begun = logtail.end(self._leaf.options.log_file)
        try:
            await self._leaf.apply(credentials=self._renewal)
            await self._until_linked(begun)
            await self._take(subjects.renewal(self._id))
            self._succeeded()
        except EdgeError as error:
            self._failed(error)
        finally:
            self._visit_at = self._monotonic() + next(self._visit_pauses)
            await self._go_back()

    async def _go_back(self) -> None:
        # First this: the link that comes now is the device's own.
        self.visiting, self._linked, self._refused = False, False, False
        self._unlinked_since = self._monotonic()
        self._tell(self)
        try:
            await self._leaf.apply(credentials=self._own)
        except EdgeError as error:
            self._failed(error)

    async def _until_linked(self, begun: int) -> None:
        """Wait for the link of a visit: as long as it takes where the device has nothing else, a moment where its own may yet do.

        begun: how long the leaf's log was before.
        """
        deadline = self._monotonic() + VISIT_SECONDS
        while not self._linked:
            if self._refused:
                # An external leaf has its log elsewhere.
                found = explain(logtail.since(self._leaf.options.log_file, begun))
                if found and found.kind == "full":
                    raise Unreachable(WHAT, found.why, found.remedy)
                why = "it was revoked or forgotten: the hub takes neither its credentials nor its renewal credentials"
                raise Refused(WHAT, why, "ask whoever runs the hub")
            if not self._situation().is_expired and self._monotonic() >= deadline:
                raise Unreachable(WHAT, "the hub does not answer", "check the network and the hub")
            self._news.clear()
            await self._until_news(min(LOOK_SECONDS, VISIT_SECONDS))

    async def _take(self, subject: str) -> None:
        """Ask for a JWT on ``subject`` and write it. Raises EdgeError; the old one then stays."""
        login = self._login()
        question = encode(Renewal(key=login.public_key))
        answer = result(await ask_hub(self._client, subject, question, what=WHAT, timeout=ANSWER_SECONDS), Renewed)
        await asyncio.to_thread(self._write, login, answer)

    def _login(self) -> Credentials:
        login = known(self._own) or known(self._renewal)
        if login is None:
            raise Failed(WHAT, f"there are none at {self._own}", "enrol this device: `edgeagent enroll`")
        return login

    def _write(self, login: Credentials, answer: Renewed) -> None:
        creds.check_issued(answer.jwt, key=login.public_key, name=self._id, what=WHAT)
        if self._login().seed != login.seed:
            raise Refused(WHAT, "somebody gave this device other credentials meanwhile")
        files.write_atomic(self._own, Credentials(answer.jwt, login.seed).format().encode(), 0o600)
        before = known(self._renewal)
        if answer.renewal and (before is None or before.jwt != answer.renewal):
            creds.check_issued(answer.renewal, key=login.public_key, name=self._id, what=WHAT)
            files.write_atomic(self._renewal, Credentials(answer.renewal, login.seed).format().encode(), 0o600)

    def _succeeded(self) -> None:
        self._wanted, self.problem = False, None
        login = self._login()
        log.info("renewed the credentials%s", f"; they end at {login.expires_at} (Unix)" if login.expires_at else "")
        self._tell(self)

    def _failed(self, error: EdgeError) -> None:
        if self.problem is None or str(self.problem) != str(error):
            log.warning("%s", error)
        self.problem = error
        self._tell(self)
