"""Looking at configuration as it changes: documents by reading the bucket on from where it was read, devices by their live reports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeagent import subjects, wire
from edgeagent.direct import Stored, read_all
from edgeagent.errors import EdgeError
from edgeagent.fleet.config import STREAM
from edgeagent.fleet.configchange import Changes, differences
from edgeagent.fleet.configscope import admitted
from edgeagent.fleet.configstatus import DeviceConfig, status_of
from edgeagent.fleet.configversion import Version, outline_of, scope_of, version_of
from edgeagent.fleet.roster import Roster, read_roster
from edgeagent.link import Client, settle
from edgeagent.subjects import Scope
from edgeagent.times import parse_rfc3339

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["Bucket", "DeviceChange", "DocumentChange", "Reports", "progress", "watch"]

#: How often to look for new documents, in seconds: people are not told of them.
LOOK_SECONDS = 1.0
#: The least time between two looks at the whole fleet, in seconds: many devices report at once.
PAUSE_SECONDS = 0.2

_ALL = subjects.kv(subjects.CONFIG_BUCKET, ">")


class Bucket:
    """All documents that the hub keeps, by scope, the oldest first; of those that are not the newest perhaps only the outline."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._client, self._next, self._links = fleet, fleet.client, 1, -1
        self.documents: dict[Scope, list[Version]] = {}

    @property
    def newest(self) -> dict[Scope, Version]:
        return {scope: history[-1] for scope, history in self.documents.items()}

    async def refresh(self) -> list[Version]:
        """Read on from the last time; what is new, in order.

        After a lost link everything is read again, for the hub may have been restored; new is then whichever is another one now.
        """
        links = self._client.stats["reconnects"]
        if links == self._links:
            new, self._next = await self._read(self._next, outlines=False)
            for version in new:
                self.documents.setdefault(version.scope, []).append(version)
            return new
        before = self.newest
        everything, following = await self._read(1, outlines=True)
        self._next, self._links, self.documents = following, links, {}
        for version in everything:
            self.documents.setdefault(version.scope, []).append(version)
        return [version for scope, version in self.newest.items() if _mark(version) != _mark(before.get(scope))]

    async def _read(self, first: int, *, outlines: bool) -> tuple[list[Version], int]:
        """Everything from the sequence ``first`` on, and where to go on after it. outlines: of all but the newest of each scope."""
        found: list[tuple[Scope, Stored]] = []
        following = first
        async for stored in read_all(self._client, STREAM, _ALL, first=first, marks=True):
            following = stored.sequence + 1
            if scope := scope_of(stored.subject):
                found.append((scope, stored))
        newest = {scope: stored.sequence for scope, stored in found}
        pins = await self._fleet.pins() if found else None
        return [
            outline_of(scope, stored) if outlines and stored.sequence != newest[scope] else version_of(scope, stored, pins)
            for scope, stored in found
        ], following


def _mark(version: Version | None) -> object:
    return version and (version.revision, version.time)


#: When the hub stored it, of which device, the report.
Heard = tuple[datetime, str, wire.Report]


class Reports:
    """Live reports, as the hub stores them: ``async with Reports(client) as reports``. ``rang`` is set at each."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.rang = asyncio.Event()
        self._queue: list[Heard] = []

    async def __aenter__(self) -> Reports:
        self._subscriptions = [
            await self._client.subscribe(subjects.live("*", what), cb=self._heard) for what in ("report", "presence")
        ]
        await settle(self._client, what="watch the configuration")
        return self

    async def __aexit__(self, *_: object) -> None:
        for subscription in self._subscriptions:
            with contextlib.suppress(Exception):  # the connection may be gone, and the subscription with it
                await subscription.unsubscribe()

    async def _heard(self, message: Any) -> None:
        device, headers = subjects.device_of(message.subject), message.headers or {}
        if device not in headers.get("Nats-Subject", "").split("."):
            return  # what the hub republishes names the subject it was stored under
        with contextlib.suppress(EdgeError, ValueError):
            if message.subject == subjects.live(device, "report"):
                report = wire.decode(message.data, wire.Report)
                # The id in the report is only what the device says; the subject proves it.
                self._queue.append((parse_rfc3339(headers["Nats-Time-Stamp"]), device, report))
        self.rang.set()

    def taken(self) -> list[Heard]:
        """What came since the last time."""
        found, self._queue = self._queue, []
        return found

    async def wait(self, seconds: float) -> None:
        """Until something is heard, so many seconds at most."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.rang.wait(), seconds)
        self.rang.clear()


async def progress(
    fleet: Fleet, which: Callable[[Roster], Iterable[str]], only: Scope | None = None, awaited: int | None = None
) -> AsyncGenerator[list[DeviceConfig], None]:
    """The rows of some devices, now and whenever something may have changed, for ever.

    which: gives the ids; one that the hub does not know any more has no row. only, awaited: as for
    :func:`~edgeagent.fleet.configstatus.status_of`.
    """
    bucket, client = Bucket(fleet), fleet.client
    async with Reports(client) as reports:
        while True:
            reports.taken()
            roster, _ = await asyncio.gather(read_roster(client), bucket.refresh())
            known = [roster.devices[device] for device in which(roster) if device in roster.devices]
            yield [status_of(found, bucket.documents, roster.time, only=only, awaited=awaited) for found in known]
            await asyncio.sleep(PAUSE_SECONDS)
            await reports.wait(LOOK_SECONDS)


class DocumentChange(NamedTuple):
    """Somebody stored a document. changes: from the one before; none by one that makes no sense."""

    version: Version
    changes: Changes


class DeviceChange(NamedTuple):
    """A device follows a document now (error is empty), or says why it does not. time: the hub's clock."""

    time: datetime
    id: str
    scope: str
    generation: int
    error: str


async def watch(fleet: Fleet, ready: Callable[[], None] = lambda: None) -> AsyncIterator[DocumentChange | DeviceChange]:
    """Every document and everything that devices do with them from now on, for ever. ready: called when it listens."""
    bucket, client = Bucket(fleet), fleet.client
    async with Reports(client) as reports:
        roster, _ = await asyncio.gather(read_roster(client), bucket.refresh())
        before = {known.id: known.config.scopes for known in admitted(roster) if known.config}
        ready()
        while True:
            await reports.wait(LOOK_SECONDS)
            for change in await _new_documents(bucket):
                yield change
            for moment, device, report in reports.taken():
                after = report.config.scopes if report.config else {}
                for told in _device_changes(moment, device, before.get(device, {}), after):
                    yield told
                before[device] = after


async def _new_documents(bucket: Bucket) -> list[DocumentChange]:
    held = bucket.newest
    try:
        new = await bucket.refresh()
    except EdgeError:  # the hub is away: the next look shows what was missed
        return []
    found = []
    for version in new:
        before = held.get(version.scope)
        changes = {} if version.problem else differences(before.values if before else {}, version.values)
        found.append(DocumentChange(version, changes))
        held[version.scope] = held.get(version.scope, version) if version.problem else version
    return found


def _device_changes(
    moment: datetime, device: str, before: dict[str, wire.ScopeState], after: dict[str, wire.ScopeState]
) -> list[DeviceChange]:
    found = []
    for scope, state in after.items():
        was = before.get(scope, wire.ScopeState())
        if state.error and (state.error, state.desired) != (was.error, was.desired):
            found.append(DeviceChange(moment, device, scope, state.desired, state.error))
        elif state.applied != was.applied:
            found.append(DeviceChange(moment, device, scope, state.applied, ""))
    return found
