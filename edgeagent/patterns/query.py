"""The device's side of a live query: hear it, filter oneself, answer on one's own subject.

Whoever asked, a device protects itself: the expression is bounded and evaluated where it can be killed, a flood is refused, and
nothing is answered that did not come from a person's inbox.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from edgeagent import subjects, wire
from edgeagent.cel import Verdict
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.patterns.facts import select
from edgeagent.ratelimit import RateLimit
from edgeagent.subjects import FLEET_ALL, Scope

__all__ = ["QueryResponder", "answer", "scopes_of"]

log = logging.getLogger(__name__)

#: A query that was heard through two scopes is answered once; this many tokens are remembered.
REMEMBERED_TOKENS = 256


class FactSource(Protocol):
    def current(self, wanted: Iterable[str]) -> wire.Facts: ...


class Filter(Protocol):
    async def evaluate(self, expression: str, facts: wire.Facts) -> Verdict: ...


def scopes_of(device_id: str, groups: Iterable[str]) -> list[Scope]:
    """Every scope through which a device can be asked."""
    return [FLEET_ALL, *(Scope.group(name) for name in groups), Scope.device(device_id)]


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


class QueryResponder:
    """Answers the live queries of one device over ``client``, a connection to its leaf."""

    def __init__(
        self,
        client: Any,
        device_id: str,
        *,
        facts: FactSource,
        evaluator: Filter,
        limit: RateLimit,
        on_answered: Callable[[str], None] = lambda state: None,
    ) -> None:
        self._client, self._id, self._facts, self._evaluator, self._limit = client, device_id, facts, evaluator, limit
        self._on_answered = on_answered
        self._seen: deque[str] = deque(maxlen=REMEMBERED_TOKENS)
        self._subscriptions: list[Any] = []

    async def start(self, groups: Iterable[str]) -> None:
        """Listen on every scope of this device."""
        for scope in scopes_of(self._id, groups):
            self._subscriptions.append(await self._client.subscribe(subjects.query(scope), cb=self._heard))

    async def stop(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.unsubscribe()

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
        await self._answer(user, query)

    async def _answer(self, user: str, query: wire.Query) -> None:
        if self._limit.allow():
            reply = await answer(query, self._facts, self._evaluator)
        else:
            reply = wire.Answer(state="refused", code="busy", reason="this device was asked too much at once")
        self._on_answered(reply.state)
        if query.matches_only and reply.state == "no_match":
            return
        await self._client.publish(subjects.reply(self._id, user, query.token), wire.encode(reply))
