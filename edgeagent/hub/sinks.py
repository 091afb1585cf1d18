"""Writing samples with their own times to whoever keeps them: Prometheus remote write and InfluxDB, from a durable place in EDGE_METRICS.

At least once: a sample that was taken before its acknowledgement counted is written again, with the same time and value, which changes
nothing at either of the two. What they never take is dropped, counted and said.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from edgeagent import chunk, subjects
from edgeagent.chunk import Point
from edgeagent.hub import sinksinflux, sinksremotewrite
from edgeagent.hub.exportervalues import MAX_POINTS, believable
from edgeagent.hub.exportsettings import InfluxOptions, RemoteWriteOptions
from edgeagent.hub.sinksconsumer import DurableConsumer
from edgeagent.hub.sinksdelivery import Delivery, Points, Send, Target
from edgeagent.hub.sinkspost import Answer, Attempts, Poster, Request, Verdict, bearer, secret
from edgeagent.hub.sinksremotewrite import Row
from edgeagent.hub.sinkstally import Tally
from edgeagent.hub.sinkstrouble import Trouble
from edgeagent.link import Client

__all__ = ["Influx", "RemoteWrite", "Sink", "consumer_of"]

log = logging.getLogger("edgeagent.hub")

#: Chunks that are taken at once, and samples in one request.
CHUNKS, SAMPLES = 50, 2000
#: A source is a token of a subject; a longer one would be in every line.
MAX_SOURCE = 200
#: How many requests may be spent on finding what is wrong in what one device sent, where it was refused as a whole; what is left then is dropped.
DIVIDE = 64

#: What Prometheus calls samples that it does not take (tsdb's errors; 2.42 answers 500 with the first of them).
_NEVER = re.compile(r"too old sample|out of bounds|out of order|duplicate sample", re.IGNORECASE)

_Rows = TypeVar("_Rows")
_Halves = Callable[[_Rows], "tuple[_Rows, _Rows] | None"]
#: Sends a part; what it answers if it is refused for ever, None if it is taken.
_Post = Callable[[_Rows], Awaitable["Answer | None"]]


async def _divided(rows: _Rows, post: _Post[_Rows], halves: _Halves[_Rows]) -> AsyncIterator[tuple[_Rows, Answer]]:
    """Post what one device sent, in parts where it is refused, and yield the parts that never will be taken."""
    waiting, tries = [rows], 0
    while waiting:
        rows, tries = waiting.pop(), tries + 1
        answer = await post(rows)
        if answer is None:
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

    async def write(self, points: Points, send: Send, tally: Tally) -> None:
        async def post(rows: list[Row]) -> Answer | None:
            body = sinksremotewrite.body(rows)
            answer = await send(lambda: self._request(body))
            if self.judge(answer) is not Verdict.TAKEN:
                return answer
            tally.sent += _count(rows)
            return None

        rows = sinksremotewrite.rows_of(points)
        if await post(rows):
            for part in sinksremotewrite.by_device(rows):  # nobody else pays for what one device sends
                async for lost, answer in _divided(part, post, sinksremotewrite.halves):
                    tally.refused(self.name, _count(lost), answer)

    def request(self, points: Points) -> Request:
        return self._request(sinksremotewrite.body(sinksremotewrite.rows_of(points)))

    def judge(self, answer: Answer) -> Verdict:
        """Older Prometheus says 500 of a sample that it will never take, which would hold up all others for ever."""
        too_old = answer.status == 500 and not answer.page and _NEVER.search(answer.text)
        return Verdict.NEVER if too_old else _judged(answer)

    def _request(self, body: bytes) -> Request:
        options = self._options
        login = _basic(self._folder, options.user, options.password_file) or bearer(self._folder, options.token_file)
        return Request(options.url, body, {**options.headers, **sinksremotewrite.HEADERS, **login})


class Influx:
    """Of a request with lines that it does not take it takes the others, and says how many these were. Where it does not say that, the
    request is divided as for Prometheus: a line that is written twice changes nothing."""

    name = "influx"

    def __init__(self, options: InfluxOptions, folder: Path) -> None:
        self._options, self._folder = options, folder

    async def write(self, points: Points, send: Send, tally: Tally) -> None:
        async def post(part: Points) -> Answer | None:
            body = sinksinflux.body(part)
            answer = await send(lambda: self._request(body))
            lost = 0 if self.judge(answer) is Verdict.TAKEN else sinksinflux.lost(answer.status, answer.text)
            if lost is None:
                return answer
            tally.sent += len(part) - min(lost, len(part))
            if lost:
                tally.refused(self.name, min(lost, len(part)), answer)
            return None

        if await post(points):
            for part in _by_device(points):
                async for lost, answer in _divided(part, post, _halves):
                    tally.refused(self.name, len(lost), answer)

    def request(self, points: Points) -> Request:
        return self._request(sinksinflux.body(points))

    def judge(self, answer: Answer) -> Verdict:
        return _judged(answer)

    def _request(self, body: bytes) -> Request:
        options = self._options
        scheme = "Token" if options.bucket else "Bearer"
        login = _basic(self._folder, options.user, options.password_file) or bearer(self._folder, options.token_file, scheme)
        return Request(sinksinflux.write_url(options), body, {"Content-Type": "text/plain; charset=utf-8", **login})


class Sink:
    """Takes what the hub stores to one target, for ever.

    hub: a connection to the account HUB. clock: Unix seconds. notes: folder for why nothing can be written, None: nowhere.
    """

    def __init__(self, hub: Client, target: Target, clock: Callable[[], float], notes: Path | None = None) -> None:
        self._target, self._clock = target, clock
        consumer = consumer_of(target.name)
        self._consumer = DurableConsumer(hub, subjects.METRICS, consumer, batch=CHUNKS)
        self.name, self.tally, self.trouble = target.name, Tally(), Trouble(target.name, notes and notes / consumer)
        self._taken: list[Any] = []

    async def run(self) -> None:
        async with Poster() as poster:
            attempts = Attempts(
                poster, trouble=self.trouble, retried=self._retried, waiting=self._waiting, judge=self._target.judge
            )
            delivery = Delivery(self._target, attempts)
            async for messages in self._consumer.batches():
                self._taken = messages
                try:
                    await self._write(delivery)
                except BaseException:  # the end of us, above all
                    await self._consumer.released(messages)
                    raise
                await self._consumer.done(messages)

    async def look(self) -> None:
        """See how much waits. Raises EdgeError."""
        self.tally.pending = await self._consumer.pending()

    async def _write(self, delivery: Delivery) -> None:
        points = self._points(self._taken)
        while batch := list(islice(points, SAMPLES)):
            await delivery.write(batch, self.tally)
            await self._waiting()

    async def _waiting(self) -> None:
        await self._consumer.working(self._taken)

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


def consumer_of(name: str) -> str:
    """name: of a target."""
    return f"sink_{name}"


def _judged(answer: Answer) -> Verdict:
    """A page is no answer of theirs, whatever its status (a firewall's login says 200); but proxies refuse in that way what is too large."""
    return Verdict.LATER if answer.page and answer.status != 413 else answer.verdict


def _by_device(points: Points) -> list[Points]:
    found: dict[str, list[tuple[str, Point]]] = {}
    for pair in points:
        found.setdefault(pair[0], []).append(pair)
    return list(found.values())


def _halves(points: Points) -> tuple[Points, Points] | None:
    middle = len(points) // 2
    return (points[:middle], points[middle:]) if middle else None


def _count(rows: Sequence[Row]) -> int:
    return sum(len(samples) for _, samples in rows)


def _basic(folder: Path, user: str, password_file: str) -> dict[str, str]:
    if not user:
        return {}
    login = f"{user}:{secret(folder, password_file)}".encode()
    return {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
