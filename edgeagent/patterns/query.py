"""The device's side of a live query: hear it, filter oneself, answer on one's own subject.

Whoever asked, a device protects itself: the expression is bounded and evaluated where it can be killed, a flood is refused, and
nothing is answered that did not come from a person's inbox.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import nats.errors

from edgeagent import subjects, wire
from edgeagent.cel import Verdict
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.patterns.facts import select
from edgeagent.ratelimit import RateLimits
from edgeagent.subjects import scopes_of

__all__ = ["QueryResponder", "answer"]

log = logging.getLogger(__name__)

#: A query that was heard through two scopes is answered once; this many tokens are remembered.
REMEMBERED_TOKENS = 256
#: Messages of one scope that may wait unread; more are dropped. It takes a loop that is held up, or thousands at once.
MAX_UNREAD = 1024
#: Filters that may wait or be evaluated, of all who ask and of one of them, so that one alone can't take every place.
MAX_WAITING, MAX_WAITING_OF_ONE = 16, 8
#: A filter costs as much as one more question for each so many seconds, but no more than so many: a worker's first start is slow.
SECONDS_OF_ONE, MAX_CHARGE = 0.01, 10.0

BUSY = wire.Answer(state="refused", code="busy", reason="this device was asked too much at once")


class FactSource(Protocol):
    def current(self, wanted: Iterable[str]) -> wire.Facts: ...


class Filter(Protocol):
    async def evaluate(self, expression: str, facts: wire.Facts) -> Verdict: ...


async def answer(query: wire.Query, facts: FactSource, evaluator: Filter) -> wire.Answer:
    """What this device says to ``query``."""
    try:
        _check(query)
        known = facts.current(query.select)
        if not query.where:
            return wire.Answer(state="match", facts=select(known, query.select))
        everything = facts.current(())
        verdict = await evaluator.evaluate(query.where, everything)
    except (UsageProblem, Refused) as error:
        return wire.Answer(state="refused", code=error.code, reason=error.why)
    if not verdict.matched:
        return wire.Answer(state="no_match", missing=verdict.missing)
    return wire.Answer(state="match", facts=select(everything, query.select))


def _check(query: wire.Query) -> None:
    if len(query.where.encode()) > wire.MAX_EXPRESSION_BYTES:
        raise Refused("answer", f"the filter is longer than {wire.MAX_EXPRESSION_BYTES} bytes")
    if len(query.select) > wire.MAX_SELECTED_FIELDS:
        raise Refused("answer", f"more than {wire.MAX_SELECTED_FIELDS} fields were asked for")


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A question that waits for its filter's turn. at: when it was heard, monotonic, in seconds."""

    user: str
    query: wire.Query
    at: float

    @property
    def patience_seconds(self) -> float:
        """How long the asker listens."""
        return min(self.query.timeout_ms, wire.MAX_TIMEOUT_MS) / 1000


class QueryResponder:
    """Answers the live queries of one device over ``client``, a connection to its leaf.

    A question without a filter is answered at once. Filters are evaluated one after the other; those who ask at the same time share
    the places in which they wait. limits: counted by user, a filter by the time that it took as well.
    """

    def __init__(
        self,
        client: Any,
        device_id: str,
        *,
        facts: FactSource,
        evaluator: Filter,
        limits: RateLimits,
        on_answered: Callable[[str], None] = lambda state: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._id, self._facts, self._evaluator, self._limits = client, device_id, facts, evaluator, limits
        self._on_answered, self._clock = on_answered, clock
        self._seen: deque[str] = deque(maxlen=REMEMBERED_TOKENS)
        self._subscriptions: list[Any] = []
        self._turn = asyncio.Lock()
        self._waiting: dict[asyncio.Task[None], str] = {}

    async def start(self, groups: Iterable[str]) -> None:
        """Listen on every scope of this device."""
        for scope in scopes_of(self._id, groups):
            self._subscriptions.append(
                await self._client.subscribe(subjects.query(scope), cb=self._heard, pending_msgs_limit=MAX_UNREAD)
            )

    async def stop(self) -> None:
        """Listen no more; what was heard is still answered."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.unsubscribe()

    async def close(self) -> None:
        """Answer no more: what waits is dropped."""
        tasks = list(self._waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _heard(self, message: Any) -> None:
        user = subjects.reply_user(message.reply or "")
        if user is None:
            log.warning(
                "ignored a query without a person's inbox (from %s)", (message.headers or {}).get("Nats-Subject", "unknown")
            )
            return
        try:
            query = wire.decode(message.data, wire.Query)
        except EdgeError as error:
            log.warning("ignored a query by %s: %s", user, error)
            return
        if not subjects.is_token(query.token) or query.token in self._seen:
            return
        self._seen.append(query.token)
        await self._take(Heard(user=user, query=query, at=self._clock()))

    async def _take(self, heard: Heard) -> None:
        """Answer now what costs little; find a place for the rest."""
        if not self._limits.allow(heard.user):
            await self._say(heard, BUSY)
        elif not heard.query.where:
            await self._say(heard, await answer(heard.query, self._facts, self._evaluator))
        elif len(self._waiting) >= MAX_WAITING or [*self._waiting.values()].count(heard.user) >= MAX_WAITING_OF_ONE:
            await self._say(heard, BUSY)
        else:
            task = asyncio.create_task(self._evaluate(heard), name=f"query {heard.query.token}")
            self._waiting[task] = heard.user
            task.add_done_callback(self._ended)

    async def _evaluate(self, heard: Heard) -> None:
        async with self._turn:
            begun = self._clock()
            if begun - heard.at > heard.patience_seconds:
                log.debug("dropped a query by %s: nobody listens any more", heard.user)
                return
            try:
                reply = await answer(heard.query, self._facts, self._evaluator)
            finally:
                took = self._clock() - begun
                self._limits.charge(heard.user, min(took / SECONDS_OF_ONE, MAX_CHARGE))
        await self._say(heard, reply)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._waiting[task]
        if task.cancelled() or task.exception() is None:
            return
        expected = isinstance(task.exception(), (EdgeError, nats.errors.Error))
        log.log(logging.DEBUG if expected else logging.ERROR, "%s", task.get_name(), exc_info=task.exception())

    async def _say(self, heard: Heard, reply: wire.Answer) -> None:
        self._on_answered(reply.state)
        if not (heard.query.matches_only and reply.state == "no_match"):
            await self._client.publish(subjects.reply(self._id, heard.user, heard.query.token), wire.encode(reply))
