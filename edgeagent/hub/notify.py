"""Telling people, by webhook: every event of EDGE_EVENTS that counts, from a durable place, until the receiver has taken it.

One that the receiver does not like must not silence all others, and a receiver that is down or wrongly set up must lose none: which of
the two it is shows when another event is taken where this one was refused again and again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nats.js import api

from edgeagent import subjects, wire
from edgeagent.errors import EdgeError
from edgeagent.hub import notifyshapes
from edgeagent.hub.exportsettings import Webhook
from edgeagent.hub.notifyledger import STREAM, Ledger
from edgeagent.hub.notifyrules import BACK, LOST, Notice, OpenAlerts, is_wanted
from edgeagent.hub.sinksconsumer import DurableConsumer
from edgeagent.hub.sinkspost import Answer, Attempts, Poster, Request, Verdict, bearer, secret
from edgeagent.hub.sinkstrouble import Trouble
from edgeagent.link import Client
from edgeagent.ratelimit import RateLimits
from edgeagent.runtime import Tasks

__all__ = ["Held", "Receiver", "another", "at_once", "consumer_of", "judged", "request_of"]

log = logging.getLogger("edgeagent.hub")

#: Events that are out at once, of all instances.
BATCH = 16
#: What could not be told for so long is not told any more, in seconds.
EXPIRE_SECONDS = 86_400.0
#: What one device may have told, a second and at once; all together ten times as much. What the hub tells itself is not limited.
DEVICE_PER_SECOND, DEVICE_AT_ONCE = 1 / 60, 10
#: After so many refusals of one event another one is tried; when that is taken, so many more show that the first is at fault.
DOUBT, PROOF = 5, 3
#: Pause after the hub did not answer, in seconds.
AGAIN_SECONDS = 1.0


class Held(NamedTuple):
    """An event that waits to be told. message: nats-py's. stored: when the hub stored it, Unix seconds."""

    message: Any
    notice: Notice
    stored: float

    @property
    def sequence(self) -> int:
        return int(self.message.metadata.sequence.stream)

    @property
    def about(self) -> tuple[str, str]:
        """What must be told in its order: the beginning and the end of one thing."""
        kind = self.notice.kind
        return self.notice.device, self.notice.alert or (LOST if kind == BACK else kind)


def another(held: Sequence[Held], round: int) -> Held | None:
    """Which one to try instead of the first: one that is the next about something else, in each round another one; None: there is none."""
    nexts: dict[tuple[str, str], Held] = {}
    for each in held:
        nexts.setdefault(each.about, each)
    found = list(nexts.values())[1:]
    return found[round % len(found)] if found else None


class Receiver:
    """One webhook.

    folder: where its files are. notes: folder for why it cannot be told, None: nowhere.
    outcomes: notices by what became of them: ``sent``, ``refused``, ``expired``, ``flood``.
    """

    def __init__(self, hub: Client, name: str, options: Webhook, folder: Path, notes: Path | None = None) -> None:
        self._ledger, self._options, self._folder = Ledger(hub), options, folder
        self.name, self.outcomes, self.retries = name, Counter[str](), 0
        policy = api.DeliverPolicy.NEW  # nobody wants to be told of last month
        self._consumer = DurableConsumer(hub, STREAM, consumer_of(name), batch=BATCH, policy=policy)
        self.trouble = Trouble(name, notes and notes / consumer_of(name))
        self._rates = RateLimits(DEVICE_PER_SECOND, DEVICE_AT_ONCE, shared=10, remembered=1000)
        self._arrived: list[Any] = []
        self._held: list[Held] = []
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """From now on nothing is missed, whether :meth:`run` runs or not. Raises EdgeError."""
        await self._consumer.ensure()

    async def run(self) -> None:
        """For ever. What is not told at the end comes again, here or elsewhere."""
        tasks = Tasks()
        tasks.start(f"{self.name}: take", self._take())
        tasks.start(f"{self.name}: tell", self._tell())
        try:
            await tasks.wait(asyncio.Event())
        finally:
            await tasks.close()
            await self._consumer.released([*self._arrived, *(held.message for held in self._held)])
            self._arrived, self._held = [], []

    async def at_once(self, notice: Notice) -> bool:
        """Tell what is not stored yet, once; whether it was taken. What was not comes in its turn, when it is stored."""
        if not is_wanted(notice, self._options.minimum):
            return False
        try:
            async with Poster() as poster:
                answer = await poster.post(request_of(self._options, self._folder, notice))
        except EdgeError as error:
            log.debug("%s", error)
            return False
        if self._verdict(answer) is not Verdict.TAKEN:
            return False
        self.outcomes["sent"] += 1
        return True

    async def _take(self) -> None:
        """Also while one cannot be told: whether it is at fault shows by others."""
        async for messages in self._consumer.batches():
            self._arrived = messages
            while self._arrived:
                await self._judge(self._arrived[0])
                del self._arrived[0]

    async def _judge(self, message: Any) -> None:
        sequence = int(message.metadata.sequence.stream)
        self._held_again(sequence, message)
        if any(held.sequence == sequence for held in self._held):
            return
        notice = await self._judged(sequence)
        if notice is None or not is_wanted(notice, self._options.minimum) or self.name in notice.told:
            await self._consumer.done([message])
        elif notice.device != subjects.HUB and not self._rates.allow(notice.device):
            await self._done("flood", message)
        else:
            self._held.append(Held(message, notice, message.metadata.timestamp.timestamp()))
            self._wake.set()

    def _held_again(self, sequence: int, message: Any) -> None:
        """The hub has waited too long for a word, and sends it again: the newer one is to be acknowledged."""
        self._held = [held._replace(message=message) if held.sequence == sequence else held for held in self._held]

    async def _judged(self, sequence: int) -> Notice | None:
        while True:
            try:
                return await self._ledger.notice(sequence)
            except EdgeError as error:
                log.debug("%s", error)
                await self._waiting()
                await asyncio.sleep(AGAIN_SECONDS)

    async def _tell(self) -> None:
        async with Poster() as poster:
            attempts = Attempts(poster, trouble=self.trouble, retried=self._retried, waiting=self._waiting, judge=self._verdict)
            while True:
                while not self._held:
                    self._wake.clear()
                    await self._wake.wait()
                await self._first(attempts)

    async def _first(self, attempts: Attempts) -> None:
        """Tell the first of them, however long it takes, or find that it is at fault."""
        refusals, proof = 0, 0  # proof: refusals since another one was taken, 0: none was
        while True:
            first = self._held[0]
            found, answer = await self._try(attempts, first)
            if found is not Verdict.LATER:
                return
            if answer is not None and answer.of_content:
                refusals, proof = refusals + 1, proof + bool(proof)
                if proof > PROOF:
                    await self._refused(first, answer)
                    return
                if not proof and refusals % DOUBT == 0 and await self._is_another_taken(attempts, refusals // DOUBT):
                    proof = 1
                    continue
            await attempts.pause()

    async def _is_another_taken(self, attempts: Attempts, round: int) -> bool:
        other = another(self._held, round)
        return other is not None and (await self._try(attempts, other))[0] is Verdict.TAKEN

    async def _try(self, attempts: Attempts, held: Held) -> tuple[Verdict, Answer | None]:
        """Once, and done with it unless it is to be tried again. What is too old is done with (NEVER) without a try."""
        if time.time() - held.stored > EXPIRE_SECONDS:
            await self._over(held, "expired")
            return Verdict.NEVER, None
        found, answer = await attempts.once(lambda: request_of(self._options, self._folder, held.notice))
        if found is Verdict.TAKEN:
            await self._over(held, "sent")
        elif found is Verdict.NEVER and answer is not None:
            await self._refused(held, answer)
        return found, answer

    async def _refused(self, held: Held, answer: Answer) -> None:
        about = held.notice
        log.warning("%s does not take the message about %s on %s: %s", self.name, about.kind, about.device, answer)
        await self._over(held, "refused")

    async def _over(self, held: Held, outcome: str) -> None:
        message = next(each.message for each in self._held if each.sequence == held.sequence)
        self._held = [each for each in self._held if each.sequence != held.sequence]
        await self._done(outcome, message)

    async def _done(self, outcome: str, message: Any) -> None:
        self.outcomes[outcome] += 1
        await self._consumer.done([message])

    async def _waiting(self) -> None:
        await self._consumer.working([*self._arrived, *(held.message for held in self._held)])

    def _verdict(self, answer: Answer) -> Verdict:
        return judged(self._options, answer)

    def _retried(self) -> None:
        self.retries += 1


async def at_once(receivers: Sequence[Receiver], severity: str, event: wire.Event) -> list[str]:
    """Tell an event of the hub that is not stored; the names of those who took it, for its data (TOLD)."""
    notice = OpenAlerts().take(subjects.HUB, severity, event, event.time)
    if notice is None:
        return []
    taken = await asyncio.gather(*(receiver.at_once(notice) for receiver in receivers))
    return [receiver.name for receiver, took in zip(receivers, taken, strict=True) if took]


def consumer_of(name: str) -> str:
    """name: of a webhook."""
    return f"notify_{name}"


def judged(options: Webhook, answer: Answer) -> Verdict:
    """Those whose answers we know never answer with a page: a firewall that wants a login does. Your own webhook may."""
    return Verdict.LATER if answer.page and options.format != "json" else answer.verdict


def request_of(options: Webhook, folder: Path, notice: Notice) -> Request:
    """What is posted to the webhook. Raises EdgeError for a file that cannot be used, UsageProblem for an address that does not fit."""
    url = options.url or secret(folder, options.url_file)
    where, body = notifyshapes.message(options.format, url, notice)
    return Request(where, body, {"Content-Type": "application/json", **bearer(folder, options.token_file)})
