"""What this device's store holds: read from its own leaf, so without a link, and without the agent as long as the leaf runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import nats.errors
from nats.js.errors import APIError

from edgeagent import localsubjects
from edgeagent import status as statuses
from edgeagent.assembly.logins import leaf_url
from edgeagent.chunk import Point
from edgeagent.errors import EdgeError, Failed, Unreachable, UsageProblem
from edgeagent.leaf.apps import CLI_INBOX
from edgeagent.leaf.conf import AGENT_USER
from edgeagent.leaf.secrets import load
from edgeagent.link import Client, connect
from edgeagent.patterns.clocksteps import read_times
from edgeagent.patterns.forwardchunks import DATA, METRICS, Kind, Local
from edgeagent.patterns.locallog import LocalLog
from edgeagent.patterns.truetimes import TrueTimes
from edgeagent.sample import parse, source_of
from edgeagent.settings import Settings
from edgeagent.status import ForwardStatus, Status

__all__ = ["DATA", "METRICS", "Held", "LocalStore", "Source", "opened"]

#: How many of the newest messages are looked at for sources and rates, and over how long, in seconds.
NEWEST, RATE_SECONDS = 2000, 300.0
#: How many messages at most are looked through for the samples of one source or metric, and how many are read at once.
MAX_SEARCH, PAGE, PAGE_BYTES = 20_000, 500, 4 << 20


@dataclass
class Source:
    """A program, or the topic of its messages. messages: stored of it. newest: when the last was true, Unix milliseconds.

    a_minute: samples (or messages) a minute lately; metrics: names in the newest messages.
    """

    name: str
    messages: int = 0
    newest: int | None = None
    a_minute: float = 0.0
    metrics: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class Held:
    """One of the two streams. bytes, limit: of the disk. since: when its oldest message is from, Unix milliseconds; None: it is empty.

    forward: how far forwarding is, as the agent wrote at ``as_of``, RFC 3339; None where that is not known.
    """

    messages: int
    bytes: int
    limit: int
    since: int | None
    sources: list[Source]
    forward: ForwardStatus | None
    as_of: str


class LocalStore:
    """The store of this machine's agent; see :func:`opened`. Every method raises EdgeError."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client, self._settings = client, settings
        self._times: TrueTimes = read_times(settings.state_folder)

    async def held(self, kind: Kind) -> Held:
        """What it has of samples, or of messages."""
        log = LocalLog(self._client, kind.local)
        try:
            found = await self._client.jetstream().stream_info(kind.local, subjects_filter=kind.subject)
        except (nats.errors.Error, APIError, asyncio.TimeoutError) as error:
            raise Failed(f"read the local stream {kind.local}", str(error) or "the leaf does not answer") from None
        state, limit = await log.state(), found.config.max_bytes or 0
        oldest = (await log.read(state.first, count=1, max_bytes=1)).messages
        sources = _counted(kind, found.state.subjects or {})
        told = _told(self._settings)
        self._look(kind, sources, await _newest(log, state.last, NEWEST))
        return Held(
            messages=state.messages,
            bytes=state.bytes,
            limit=limit,
            since=self._moment(kind, oldest[0]) if oldest else None,
            sources=sorted(sources.values(), key=lambda source: source.name),
            forward=told.forward.get(kind.name) if told else None,
            as_of=told.written if told else "",
        )

    def _look(self, kind: Kind, sources: dict[str, Source], newest: Iterable[Local]) -> None:
        messages = list(newest)
        begin = messages[-1].time - RATE_SECONDS * 1e9 if messages else 0.0
        recent = [message for message in messages if message.time >= begin]
        seconds = max(60.0, (recent[-1].time - recent[0].time) / 1e9) if recent else 60.0
        for message in messages:
            source = sources.setdefault(name := _name(kind, message.subject), Source(name))
            source.newest = self._moment(kind, message)
            points = self._points(message) if kind is METRICS else []
            source.metrics |= {point.sample.metric for point in points}
            if message.time >= begin:
                source.a_minute += (len(points) if kind is METRICS else 1) * 60 / seconds

    async def last(self, name: str, count: int) -> list[Point]:
        """The newest samples of a source or a metric, oldest first. Raises UsageProblem when there are none."""
        log = LocalLog(self._client, METRICS.local)
        state, found = await log.state(), list[Point]()
        end = state.last
        while end >= state.first and len(found) < count and state.last - end < MAX_SEARCH:
            begin = max(state.first, end - PAGE + 1)
            points = [point for message in await _range(log, begin, end) for point in self._points(message)]
            found = [point for point in points if _is_of(point, name)] + found
            end = begin - 1
        if not found:
            known = "`edgeagent metrics local` lists the sources"
            raise UsageProblem("show samples", f"the store has none of {name!r} among its newest messages", known)
        return found[-count:]

    def _points(self, message: Local) -> list[Point]:
        """The samples in a message, none where nobody can read it."""
        with contextlib.suppress(UsageProblem):
            source = source_of(message.subject)
            at = [
                (each, self._times.of_sample(METRICS.local, message.sequence, message.time, each.time))
                for each in parse(message.subject, message.data)
            ]
            return [Point(source, each, time_ms, estimated) for each, (time_ms, estimated) in at]
        return []

    def _moment(self, kind: Kind, message: Local) -> int:
        return self._times.of_message(kind.local, message.sequence, message.time)[0]


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[LocalStore]:
    """The store of the agent with these settings. Raises EdgeError: no leaf runs, or this user may not use its login."""
    what = "read this device's store"
    login = load(settings.state_folder / "secrets.json")
    if login is None:
        raise Unreachable(
            what, f"there is none in {settings.state_folder}: the agent has not run here", "start it: `edgeagent run`"
        )
    try:
        client = await connect(
            leaf_url(settings),
            what=what,
            name="edgeagent metrics local",
            inbox_prefix=f"{CLI_INBOX}.{os.getpid()}",
            password=(AGENT_USER, login.agent),
            reconnect=False,
        )
    except Unreachable as error:
        raise Unreachable(what, error.why, _remedy(settings.state_folder)) from None
    try:
        yield LocalStore(client, settings)
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()


def _remedy(state: Path) -> str:
    from edgeagent.leaf.storelimit import used_bytes

    kept = used_bytes(state / "js") >> 20
    return f"the store is on the disk ({kept} MiB), and the agent brings its leaf: `edgeagent status` says how it is"


def _counted(kind: Kind, subjects: dict[str, int]) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for subject, count in subjects.items():
        found.setdefault(name := _name(kind, subject), Source(name)).messages += count
    return found


def _name(kind: Kind, subject: str) -> str:
    """The source of a sample, the topic of a message."""
    return source_of(subject) if kind is METRICS else subject.removeprefix(localsubjects.local_data(""))


def _is_of(point: Point, name: str) -> bool:
    metric = point.sample.metric
    return name in (point.source, metric) or metric.startswith(f"{name}.")


async def _newest(log: LocalLog, last: int, count: int) -> list[Local]:
    return await _range(log, max(1, last - count + 1), last)


async def _range(log: LocalLog, first: int, last: int) -> list[Local]:
    """What is there from one sequence to another."""
    found: list[Local] = []
    while first <= last:
        page = [
            message for message in (await log.read(first, count=PAGE, max_bytes=PAGE_BYTES)).messages if message.sequence <= last
        ]
        if not page:
            break
        found += page
        first = page[-1].sequence + 1
    return found


def _told(settings: Settings) -> Status | None:
    """What the agent wrote last."""
    with contextlib.suppress(EdgeError):
        return statuses.read(settings.status_file)
    return None
