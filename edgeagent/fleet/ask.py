"""Asking the fleet: publish, listen, and stop when the last device that should answer has answered."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgeagent import subjects, wire
from edgeagent.cel import Verdict
from edgeagent.errors import EdgeError
from edgeagent.fleet.outcome import Collector, Outcome, Row
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.selector import Selector
from edgeagent.fleet.states import Known, State, state_of
from edgeagent.fleet.suspects import Suspects
from edgeagent.link import Client
from edgeagent.patterns.facts import select as pick

__all__ = ["Asker", "Question"]

#: Where all that could answer are suspects, listen this long: one that came back is heard, and nobody waits for the others.
GRACE_SECONDS = 0.25
#: Who was waited for less long than this is not made a suspect: the link may just be slow.
FAIR_WAIT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Question:
    """select: dotted names of the facts wanted. timeout_seconds: the longest wait. first: end at the first match.
    matches_only: devices that do not match stay silent, so it always ends at the deadline."""

    selector: Selector = field(default_factory=Selector)
    select: tuple[str, ...] = ()
    timeout_seconds: float = 3.0
    first: bool = False
    matches_only: bool = False


class Judge(Protocol):
    async def evaluate_many(self, expression: str, facts: Sequence[wire.Facts]) -> list[Verdict]: ...


OnAnswer = Callable[[Row], None]


class Asker:
    """Asks on behalf of ``user`` over one connection, with one subscription for all answers to this process."""

    def __init__(self, client: Client, user: str, *, judge: Judge, suspects: Suspects) -> None:
        self._client, self._user, self._judge, self._suspects = client, user, judge, suspects
        self._waiting: dict[str, tuple[Collector, float, asyncio.Event, OnAnswer | None]] = {}
        self._subscription: Any = None

    async def ask(self, question: Question, roster: Awaitable[Roster], *, on_answer: OnAnswer | None = None) -> Outcome:
        """Ask now; ``roster`` is read meanwhile and tells whose answer to wait for."""
        collector, changed, begun = Collector(secrets.token_hex(8)), asyncio.Event(), time.monotonic()
        await self._listen()
        self._waiting[collector.token] = collector, begun, changed, on_answer
        try:
            await self._publish(question, collector.token)
            known = await roster
            states = self._states(known, question.selector)
            collector.expected = frozenset(device for device, state in states.items() if state is State.ONLINE)
            suspects_only = not collector.expected and State.SUSPECT in states.values()
            wait = min(GRACE_SECONDS, question.timeout_seconds) if suspects_only else question.timeout_seconds
            await self._collect(question, collector, changed, begun + wait, to_the_end=suspects_only or question.matches_only)
        finally:
            del self._waiting[collector.token]
        outcome = await self._outcome(question, collector, known, states)
        outcome.elapsed_seconds = time.monotonic() - begun
        outcome.unreadable = known.unreadable
        self._remember(question, outcome, collector, known)
        return outcome

    async def cached(self, question: Question, roster: Roster) -> Outcome:
        """The outcome from the hub's reports alone: no device is woken."""
        states = self._states(roster, question.selector)
        outcome = Outcome(hub_time=roster.time)
        rows = await self._judged(question, [_row(roster.devices[device], state) for device, state in states.items()])
        there = [row for row in rows if row.state in (State.ONLINE, State.SUSPECT)]
        outcome.answered = [row for row in there if row.matched]
        outcome.no_match = [row.id for row in there if not row.matched]
        outcome.missing = sum(row.matched is None for row in there)
        outcome.offline = [row for row in rows if row not in there]
        return outcome

    async def close(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(Exception):  # the connection may be gone already; nothing depends on this
                await self._subscription.unsubscribe()

    async def _listen(self) -> None:
        if self._subscription is None:
            self._subscription = await self._client.subscribe(
                subjects.replies_to(self._user), cb=self._hear, pending_msgs_limit=-1
            )

    async def _hear(self, message: Any) -> None:
        token = message.subject.rpartition(".")[2]
        if token not in self._waiting:
            return
        collector, begun, changed, on_answer = self._waiting[token]
        device = collector.hear(message.subject, message.data, time.monotonic() - begun)
        if device is None:
            return
        changed.set()
        answer, seconds = collector.answers[device]
        if on_answer and answer.state == "match":
            on_answer(_answered(device, answer, seconds, None))

    async def _publish(self, question: Question, token: str) -> None:
        message = wire.encode(
            wire.Query(
                token=token,
                where=question.selector.expression,
                select=list(question.select),
                timeout_ms=int(question.timeout_seconds * 1000),
                matches_only=question.matches_only,
            )
        )
        inbox = f"{subjects.operator_inbox(self._user)}.{token}"
        for scope in question.selector.scopes:
            await self._client.publish(subjects.query(scope), message, reply=inbox)

    async def _collect(
        self, question: Question, collector: Collector, changed: asyncio.Event, deadline: float, *, to_the_end: bool
    ) -> None:
        while not (collector.complete and not to_the_end) and not (question.first and collector.has_match):
            changed.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), left)

    def _states(self, roster: Roster, selector: Selector) -> dict[str, State]:
        return {
            device: state_of(known, roster.time, silent_since=self._suspects.get(device))
            for device, known in sorted(roster.devices.items())
            if selector.covers(known)
        }

    async def _outcome(self, question: Question, collector: Collector, roster: Roster, states: dict[str, State]) -> Outcome:
        outcome = Outcome(hub_time=roster.time)
        for device, (answer, seconds) in sorted(collector.answers.items()):
            row = _answered(device, answer, seconds, roster)
            if answer.state == "match":
                outcome.answered.append(row)
            elif answer.state == "no_match":
                outcome.no_match.append(device)
                outcome.missing += answer.missing
            else:
                outcome.refused.append(row)
        if question.first and outcome.answered:
            return outcome
        absent = [_row(roster.devices[device], state) for device, state in states.items() if device not in collector.answers]
        try:
            judged = await self._judged(question, absent)
        except EdgeError:  # what devices refuse is refused here too: the answer stays unknown
            judged = [_with(row, None, question) for row in absent]
        expected = collector.expected or frozenset()
        for row in judged:
            if question.matches_only and row.id in expected:
                outcome.no_match.append(row.id)  # it was told to say nothing
            else:
                (outcome.silent if row.state in (State.ONLINE, State.SUSPECT) else outcome.offline).append(row)
        outcome.waited_for = [row.id for row in outcome.silent if row.id in expected]
        return outcome

    async def _judged(self, question: Question, rows: list[Row]) -> list[Row]:
        """The rows with the filter evaluated on each last report, and only the facts that were asked for."""
        expression = question.selector.expression
        verdicts: list[Verdict | None] = [Verdict(matched=True, missing=False) if not expression else None for _ in rows]
        reported = [index for index, row in enumerate(rows) if row.facts is not None]
        if expression and reported:
            judged = await self._judge.evaluate_many(expression, [rows[index].facts or {} for index in reported])
            for index, verdict in zip(reported, judged, strict=True):
                verdicts[index] = verdict
        return [_with(row, verdict, question) for row, verdict in zip(rows, verdicts, strict=True)]

    def _remember(self, question: Question, outcome: Outcome, collector: Collector, roster: Roster) -> None:
        silent = {}
        for device in outcome.waited_for if question.timeout_seconds >= FAIR_WAIT_SECONDS else ():
            known = roster.devices[device]
            # Also a fresh connection is a sign of life: only one that is newer than now clears the suspicion.
            silent[device] = max(filter(None, (known.heard, roster.time)))
        self._suspects.update(silent=silent, spoke=set(collector.answers))


def _answered(device: str, answer: wire.Answer, seconds: float, roster: Roster | None) -> Row:
    known = roster.devices.get(device) if roster else None
    return Row(
        id=device,
        state=State.ONLINE,
        facts=answer.facts,
        groups=tuple(known.groups) if known else (),
        last_seen=roster.time if roster else None,
        reason="" if answer.state == "match" else answer.reason or answer.code or "it gave no reason",
        round_trip_ms=seconds * 1000,
    )


def _row(known: Known, state: State) -> Row:
    return Row(
        id=known.id,
        state=state,
        facts=known.facts,
        matched=None,
        groups=tuple(known.groups),
        last_seen=known.last_seen,
        since=known.gone_since if state is State.OFFLINE else None,
        as_of=known.reported,
    )


def _with(row: Row, verdict: Verdict | None, question: Question) -> Row:
    unknown = verdict is None or verdict.problem or (verdict.missing and not verdict.matched)
    matched = None if verdict is None or unknown else verdict.matched
    facts = None if row.facts is None else pick(row.facts, question.select)
    return Row(**{**row.__dict__, "matched": matched, "facts": facts})
