"""Writing samples with their own times to whoever keeps them: Prometheus remote write and InfluxDB, from a durable place in EDGE_METRICS.

At least once: a sample that was taken before its acknowledgement counted is written again, with the same time and value, which changes
nothing at either of the two. What they never take is dropped, counted and said.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edgeagent import chunk, subjects
from edgeagent.chunk import Point
from edgeagent.hub import sinksinflux, sinksremotewrite
from edgeagent.hub.exportervalues import MAX_POINTS, believable
from edgeagent.hub.exportsettings import InfluxOptions, RemoteWriteOptions
from edgeagent.hub.sinksconsumer import DurableConsumer
from edgeagent.hub.sinkspost import Answer, Attempts, Poster, Request, Verdict, bearer, delivered, secret
from edgeagent.hub.sinksremotewrite import Row
from edgeagent.link import Client

__all__ = ["Influx", "RemoteWrite", "Send", "Sink", "Tally", "Target"]

log = logging.getLogger("edgeagent.hub")

#: Chunks that are taken at once, and samples in one request.
CHUNKS, SAMPLES = 50, 2000
#: A source is a token of a subject; a longer one would be in every line.
MAX_SOURCE = 200
#: How many requests may be spent on finding what is wrong in what one device sent, where it was refused as a whole; what is left then is dropped.
DIVIDE = 64

#: What Prometheus calls samples that it does not take (tsdb's errors; 2.42 answers 500 with the first of them).
_NEVER = re.compile(r"too old sample|out of bounds|out of order|duplicate sample", re.IGNORECASE)

_Points = Sequence[tuple[str, Point]]
_Rows = TypeVar("_Rows")
_Halves = Callable[[_Rows], "tuple[_Rows, _Rows] | None"]


class Tally:
    """What became of samples. sent: taken. dropped: by reason: ``future``, ``unreadable``, ``too_many``, ``refused``."""

    def __init__(self) -> None:
        self.sent = 0
        self.retries = 0
        self.pending = 0
        self.dropped: Counter[str] = Counter()
        self.problem = ""

    def refused(self, name: str, count: int, answer: Answer) -> None:
        """Count them, and say so when the reason is another one than last time."""
        self.dropped["refused"] += count
        if answer.text != self.problem:
            self.problem = answer.text
            log.warning("%s does not take %s samples: %s", name, count, answer)


#: Posts a request until it was taken or refused for ever.
Send = Callable[[Callable[[], Request]], Awaitable[Answer]]


class Target(Protocol):
    """Where samples go. name: for people, and part of the consumer's name."""

    name: str

    async def write(self, points: _Points, send: Send, tally: Tally) -> None:
        """Write them all, or count in ``tally`` what was refused."""
        ...

    def judge(self, answer: Answer) -> Verdict:
        """What an answer means."""
        ...


async def _divided(
    rows: _Rows, post: Callable[[_Rows], Awaitable[Answer]], halves: _Halves[_Rows]
) -> AsyncIterator[tuple[_Rows, Answer]]:
    """Post what one device sent, in parts where it is refused, and yield the parts that never will be taken."""
    waiting, tries = [rows], 0
    while waiting:
        rows, tries = waiting.pop(), tries + 1
        answer = await post(rows)
        if answer.verdict is Verdict.TAKEN:
            continue
        parts = halves(rows)
        if parts is None or tries >= DIVIDE:
            yield rows, answer
        else:
            waiting += reversed(parts)


class RemoteWrite:
    """Prometheus refuses a request as a whole for one sample that is too old, so a refused one is divided until that is found."""

    name = "remote_write"

    def __init__(self, options: RemoteWriteOptions, folder: Path) -> None:
        self._options, self._folder = options, folder

    async def write(self, points: _Points, send: Send, tally: Tally) -> None:
        async def post(rows: list[Row]) -> Answer:
            return await self._post(rows, send, tally)

        rows = sinksremotewrite.rows_of(points)
        if (await post(rows)).verdict is not Verdict.TAKEN:
            for part in sinksremotewrite.by_device(rows):  # nobody else pays for what one device sends
                async for lost, answer in _divided(part, post, sinksremotewrite.halves):
                    tally.refused(self.name, _count(lost), answer)

    async def _post(self, rows: list[Row], send: Send, tally: Tally) -> Answer:
        body = sinksremotewrite.body(rows)
        answer = await send(lambda: self._request(body))
        if answer.verdict is Verdict.TAKEN:
            tally.sent += _count(rows)
        return answer

    def judge(self, answer: Answer) -> Verdict:
        """Older Prometheus says 500 of a sample that it will never take, which would hold up all others for ever."""
        return Verdict.NEVER if answer.status == 500 and _NEVER.search(answer.text) else answer.verdict

    def _request(self, body: bytes) -> Request:
        options = self._options
        login = _basic(self._folder, options.user, options.password_file) or bearer(self._folder, options.token_file)
        return Request(options.url, body, {**options.headers, **sinksremotewrite.HEADERS, **login})


class Influx:
    """Some versions take the good lines of a request that they refuse, others none: it is divided as for Prometheus, and a line that
    is written twice changes nothing."""

    name = "influx"

    def __init__(self, options: InfluxOptions, folder: Path) -> None:
        self._options, self._folder = options, folder

    async def write(self, points: _Points, send: Send, tally: Tally) -> None:
        async def post(part: _Points) -> Answer:
            body = sinksinflux.body(part)
            answer = await send(lambda: self._request(body))
            tally.sent += len(part) if answer.verdict is Verdict.TAKEN else 0
            return answer

        if (await post(points)).verdict is not Verdict.TAKEN:
            for part in _by_device(points):
                async for lost, answer in _divided(part, post, _halves):
                    tally.refused(self.name, len(lost), answer)

    def judge(self, answer: Answer) -> Verdict:
        return answer.verdict

    def _request(self, body: bytes) -> Request:
        options = self._options
        scheme = "Token" if options.bucket else "Bearer"
        login = _basic(self._folder, options.user, options.password_file) or bearer(self._folder, options.token_file, scheme)
        return Request(sinksinflux.write_url(options), body, {"Content-Type": "text/plain; charset=utf-8", **login})


class Sink:
    """Takes what the hub stores to one target, for ever. hub: a connection to the account HUB. clock: Unix seconds."""

    def __init__(self, hub: Client, target: Target, clock: Callable[[], float]) -> None:
        self._target, self._clock = target, clock
        self._consumer = DurableConsumer(hub, subjects.METRICS, f"sink_{target.name}", batch=CHUNKS)
        self.name, self.tally = target.name, Tally()

    async def run(self) -> None:
        async with Poster() as poster:
            async for messages in self._consumer.batches():
                try:
                    await self._write(poster, messages)
                except BaseException:  # the end of us, above all
                    await self._consumer.released(messages)
                    raise
                await self._consumer.done(messages)

    async def look(self) -> None:
        """See how much waits. Raises EdgeError."""
        self.tally.pending = await self._consumer.pending()

    async def _write(self, poster: Poster, messages: list[Any]) -> None:
        async def waiting() -> None:
            await self._consumer.working(messages)

        attempts = Attempts(poster, name=self.name, retried=self._retried, waiting=waiting, judge=self._target.judge)

        async def send(make: Callable[[], Request]) -> Answer:
            return await delivered(attempts, make)

        points = self._points(messages)
        while batch := list(islice(points, SAMPLES)):
            await self._target.write(batch, send, self.tally)
            await waiting()

    def _retried(self) -> None:
        self.tally.retries += 1

    def _points(self, messages: Iterable[Any]) -> Iterator[tuple[str, Point]]:
        """What is in them, one chunk unpacked at a time."""
        for message in messages:
            device = subjects.device_of(message.subject)
            try:
                found = chunk.decode_metrics(message.data)
                yield from ((device, point) for point in self._good(chunk.points_of(found)))
            except Exception as error:  # mostly EdgeError; nothing that stands in the stream may stop all that comes after it
                self.tally.dropped["unreadable"] += 1
                log.debug("%r of %s", error, device)

    def _good(self, points: Iterator[Point]) -> Iterator[Point]:
        for number, point in enumerate(points):
            if number >= MAX_POINTS:  # how many more there are is not counted: it would take as long as to write them
                self.tally.dropped["too_many"] += 1
                return
            if len(point.source) > MAX_SOURCE:
                self.tally.dropped["unreadable"] += 1
            elif not believable(point.time_ms, self._clock()):
                self.tally.dropped["future"] += 1
            else:
                yield point


def _by_device(points: _Points) -> list[_Points]:
    found: dict[str, list[tuple[str, Point]]] = {}
    for pair in points:
        found.setdefault(pair[0], []).append(pair)
    return list(found.values())


def _halves(points: _Points) -> tuple[_Points, _Points] | None:
    middle = len(points) // 2
    return (points[:middle], points[middle:]) if middle else None


def _count(rows: Sequence[Row]) -> int:
    return sum(len(samples) for _, samples in rows)


def _basic(folder: Path, user: str, password_file: str) -> dict[str, str]:
    from aiohttp import BasicAuth

    return {"Authorization": BasicAuth(user, secret(folder, password_file)).encode()} if user else {}
