"""Telling people, by webhook: every event of EDGE_EVENTS that counts, from a durable place, until the receiver has taken it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from nats.js import api

from edgeagent import subjects, wire
from edgeagent.direct import read_all
from edgeagent.errors import EdgeError
from edgeagent.hub import notifyshapes
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.exportsettings import Webhook
from edgeagent.hub.notifyrules import Notice, OpenAlerts, is_wanted
from edgeagent.hub.sinksconsumer import DurableConsumer
from edgeagent.hub.sinkspost import Answer, Poster, Request, Verdict, bearer, delivered, secret
from edgeagent.link import Client
from edgeagent.ratelimit import RateLimits
from edgeagent.times import rfc3339

__all__ = ["Ledger", "Receiver", "request_of"]

log = logging.getLogger("edgeagent.hub")

STREAM = "EDGE_EVENTS"
#: Events that are out at once, of all instances.
BATCH = 16
#: What could not be told for so long is not told any more, in seconds.
EXPIRE_SECONDS = 86_400.0
#: What one device may have told, a second and at once; all together ten times as much. What the hub tells itself is not limited.
DEVICE_PER_SECOND, DEVICE_AT_ONCE = 1 / 60, 10
#: Judgements that are remembered: an event may come again, after others.
REMEMBERED = 1000


class Ledger:
    """What is to be told of each event of the stream: it reads all of them in their order. hub: a connection to the account HUB."""

    def __init__(self, hub: Client) -> None:
        self._hub = hub
        self._lock = asyncio.Lock()
        self._begin()

    def _begin(self) -> None:
        self._alerts, self._position = OpenAlerts(), 0
        self._judged: OrderedDict[int, Notice | None] = OrderedDict()

    async def notice(self, sequence: int) -> Notice | None:
        """What is to be told of the event with this sequence; None: nothing. Raises EdgeError when the hub does not answer."""
        async with self._lock:
            if sequence <= self._position and sequence not in self._judged:
                self._begin()  # so long ago, or of a stream that was made anew
            if sequence > self._position:
                await self._read(sequence)
            return self._judged.get(sequence)

    async def _read(self, last: int) -> None:
        pages = read_all(self._hub, STREAM, subjects.event("*", "*"), prefix=PREFIX, first=self._position + 1)
        try:
            async for stored in pages:
                self._judge(stored.sequence, stored.subject, stored.data, rfc3339(stored.time))
                if stored.sequence >= last:
                    return
        finally:
            await pages.aclose()
        self._position = max(self._position, last)  # it is gone

    def _judge(self, sequence: int, subject: str, data: bytes, stored: str) -> None:
        _, _, device, _, severity = subject.split(".")
        notice = None
        try:
            if subjects.is_id(device):
                notice = self._alerts.take(device, severity, wire.decode(data, wire.Event), stored)
        except EdgeError as error:
            log.debug("%s", error)
        self._position = sequence
        self._judged[sequence] = notice
        while len(self._judged) > REMEMBERED:
            self._judged.popitem(last=False)


class Receiver:
    """One webhook. folder: where its files are. outcomes: notices by what became of them: ``sent``, ``refused``, ``expired``, ``flood``."""

    def __init__(self, hub: Client, ledger: Ledger, name: str, options: Webhook, folder: Path) -> None:
        self._ledger, self._options, self._folder = ledger, options, folder
        self.name, self.outcomes, self.retries = name, Counter[str](), 0
        policy = api.DeliverPolicy.NEW  # nobody wants to be told of last month
        self._consumer = DurableConsumer(hub, STREAM, f"notify_{name}", batch=BATCH, policy=policy)
        self._rates = RateLimits(DEVICE_PER_SECOND, DEVICE_AT_ONCE, shared=10, remembered=1000)

    async def start(self) -> None:
        """From now on nothing is missed, whether :meth:`run` runs or not. Raises EdgeError."""
        await self._consumer.ensure()

    async def run(self) -> None:
        async with Poster() as poster:
            async for messages in self._consumer.batches():
                while messages:
                    await self._one(poster, messages)
                    await self._consumer.done([messages.pop(0)])

    async def _one(self, poster: Poster, messages: list[Any]) -> None:
        """The first of them; the others wait."""

        async def waiting() -> None:
            await self._consumer.working(messages)

        notice = await self._judged(messages[0].metadata.sequence.stream, waiting)
        if notice is None or not is_wanted(notice, self._options.minimum):
            return
        if (reason := self._left_out(notice, messages[0].metadata.timestamp)) is not None:
            self.outcomes[reason] += 1
            return
        answer = await delivered(
            poster,
            lambda: request_of(self._options, self._folder, notice),
            name=self.name,
            retried=self._retried,
            waiting=waiting,
        )
        self._count(notice, answer)

    async def _judged(self, sequence: int, waiting: Callable[[], Awaitable[None]]) -> Notice | None:
        while True:
            try:
                return await self._ledger.notice(sequence)
            except EdgeError as error:
                log.debug("%s", error)
                await waiting()
                await asyncio.sleep(1)

    def _left_out(self, notice: Notice, stored: datetime) -> str | None:
        if time.time() - stored.timestamp() > EXPIRE_SECONDS:
            return "expired"
        return None if notice.device == subjects.HUB or self._rates.allow(notice.device) else "flood"

    def _count(self, notice: Notice, answer: Answer) -> None:
        taken = answer.verdict is Verdict.TAKEN
        self.outcomes["sent" if taken else "refused"] += 1
        if not taken:
            log.warning("%s does not take the message about %s on %s: %s", self.name, notice.kind, notice.device, answer)

    def _retried(self) -> None:
        self.retries += 1


def request_of(options: Webhook, folder: Path, notice: Notice) -> Request:
    """What is posted to the webhook. Raises EdgeError for a file that cannot be used, UsageProblem for an address that does not fit."""
    url = options.url or secret(folder, options.url_file)
    where, body = notifyshapes.message(options.format, url, notice)
    return Request(where, body, {"Content-Type": "application/json", **bearer(folder, options.token_file)})
