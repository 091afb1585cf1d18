"""Following what the hub keeps under a few subjects, level-triggered: whatever was missed, reading again is always right.

A doorbell (a live message) only says "look again", and is never believed: the truth is read by Direct Get. So it does not matter
who rang, how often, or whether the ring was lost: there is also a look at every link-up, and one from time to time. No consumer, no
mirror and no other state is left on the hub (docs/decisions.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from edgeagent.backoff import delays
from edgeagent.direct import Stored, get_last
from edgeagent.errors import EdgeError, Unreachable
from edgeagent.link import Client
from edgeagent.runtime import jittered, woken
from edgeagent.times import parse_rfc3339

__all__ = ["Follower", "Source"]

log = logging.getLogger(__name__)

#: At most one read of a source in so many seconds because it rang: whoever can ring must not be able to cause more. The first ring
#: after a look unrung is answered at once.
SPACING_SECONDS = 1.0
#: On a cluster the server that answers may lag behind the one that rang (6 ms were seen): so many more reads, so many seconds apart.
LAG_TRIES, LAG_SECONDS = 5, 0.05
#: In so many more looks, a spacing apart, it is asked for what rang if the server has not got it by then.
LAG_LOOKS = 5
#: After a link-up there is a second look, so many seconds later, plus or minus half: whoever answered the first may have lagged behind,
#: and what rang before the link was there rings no more.
SECOND_LOOK_SECONDS = 10.0
#: Bounds of the pause after a read that failed, in seconds.
RETRY_SECONDS = (0.5, 60.0)
#: How often to look without being rung, in seconds, unless told otherwise.
EVERY_SECONDS = 600.0


class Source(NamedTuple):
    """One thing to follow. key: the follower's own name for it. stream, subject: where its newest message is. doorbell: what rings.

    subject: its last token may be ``*``, for a log whose newest entry is wanted.
    """

    key: str
    stream: str
    subject: str
    doorbell: str


#: ``(key, newest message)``; None: there is none (any more).
OnChange = Callable[[str, "Stored | None"], Awaitable[None]]


@dataclass
class _State:
    source: Source
    due: bool = True
    # Asked for by the doorbell: a read that shows less is repeated.
    rung_sequence: int = 0
    # In how many looks in a row the server did not have what rang.
    behind: int = 0
    not_before: float = 0.0
    # Sequence and time of what was offered last: a stream that was made anew counts from 1 again.
    seen: tuple[int, datetime | None] | None = None
    subscription: Any = None


class Follower:
    """Calls ``on_change`` with the newest message of each source: once after each link-up, and whenever it is another one.

    on_change: must bear to be called twice with the same message. An EdgeError that it raises is logged, and the message is offered
    again at the next look; Unreachable makes that look a matter of seconds. client: a connection whose inbox the hub can reach. every_seconds: how often to look unrung, ±10 %.
    """

    def __init__(self, client: Client, on_change: OnChange, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._client, self._on_change, self._every = client, on_change, every_seconds
        self._states: dict[str, _State] = {}
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._unrung = self._clock() + jittered(every_seconds)

    async def set_sources(self, sources: Iterable[Source]) -> None:
        """Follow just these from now on; those that stay keep what was seen. New ones are read in this order, after those that stay."""
        wanted = {source.key: source for source in sources}
        for key in [key for key, state in self._states.items() if wanted.get(key) != state.source]:
            await _unsubscribe(self._states.pop(key))
        for key in [key for key in wanted if key not in self._states]:
            self._states[key] = state = _State(wanted[key])
            state.subscription = await self._client.subscribe(state.source.doorbell, cb=self._bell(state))
        self._wake.set()

    def link_came(self) -> None:
        """Read everything again: what rang meanwhile was not heard."""
        self._unrung = min(self._unrung, self._clock() + jittered(SECOND_LOOK_SECONDS, 0.5))
        self.again(self._states)

    def again(self, keys: Iterable[str]) -> None:
        """Read these again, and offer what is found even if it was offered before."""
        for key in self._states.keys() & set(keys):
            self._states[key].due, self._states[key].seen = True, None
        self._wake.set()

    def set_every(self, seconds: float) -> None:
        """Look unrung as often as this from now on."""
        if seconds != self._every:
            self._every, self._unrung = seconds, self._clock() + jittered(seconds)
            self._wake.set()

    async def run(self) -> None:
        """Look for ever."""
        pauses = delays(*RETRY_SECONDS)
        while True:
            failed = not await self._look()
            pauses = pauses if failed else delays(*RETRY_SECONDS)
            next_look = self._clock() + next(pauses) if failed else self._next_due()
            await woken(self._wake, max(0.0, next_look - self._clock()))
            if self._clock() >= self._unrung:
                self._unrung = self._clock() + jittered(self._every)
                for state in self._states.values():
                    state.due = True

    async def close(self) -> None:
        """Hear no more doorbells."""
        for state in self._states.values():
            await _unsubscribe(state)
        self._states.clear()

    def _bell(self, state: _State) -> Callable[[Any], Awaitable[None]]:
        async def rung(message: Any) -> None:
            headers = message.headers or {}
            sequence = _sequence(headers, state.source)
            if state.due and sequence is not None:  # it is going to be read anyway; so a flood of rings costs little
                state.rung_sequence = sequence
            elif sequence is not None and (sequence, _time(headers)) != state.seen:
                state.due, state.rung_sequence = True, sequence
                self._wake.set()

        return rung

    def _next_due(self) -> float:
        return min([self._unrung, *(state.not_before for state in self._states.values() if state.due)])

    async def _look(self) -> bool:
        """Read what is due and may be read; whether all of it worked."""
        now, good = self._clock(), True
        for state in [state for state in self._states.values() if state.due and state.not_before <= now]:
            state.due = False
            if state.rung_sequence:
                state.not_before = now + SPACING_SECONDS
            try:
                await self._read(state)
            except EdgeError as error:
                log.debug("%s", error)
                state.due, good = True, False
        return good

    async def _read(self, state: _State) -> None:
        stored = await self._newest(state)
        found = (stored.sequence, stored.time) if stored else (0, None)
        if found == state.seen:
            return
        try:
            await self._on_change(state.source.key, stored)
        except Unreachable:
            raise
        except EdgeError as error:
            log.warning("%s", error)
            return
        state.seen = found

    async def _newest(self, state: _State) -> Stored | None:
        """The newest message; no older one than rang, unless the server goes on having none: whoever forges a doorbell names any number."""
        wanted, state.rung_sequence = state.rung_sequence, 0
        try:
            stored = await self._asked(state.source, wanted)
        except EdgeError:  # who answers next may be the one that lags behind
            state.rung_sequence = max(wanted, state.rung_sequence)
            raise
        is_there = wanted <= (stored.sequence if stored else 0)
        state.behind = 0 if is_there or state.behind >= LAG_LOOKS else state.behind + 1
        if state.behind:
            state.due, state.rung_sequence = True, max(wanted, state.rung_sequence)
        return None if stored is None or stored.deleted else stored

    async def _asked(self, source: Source, wanted: int) -> Stored | None:
        """What the hub has now: of this sequence or a later one, if it comes within a moment."""
        for attempt in range(LAG_TRIES + 1):
            if attempt:
                await asyncio.sleep(LAG_SECONDS)
            stored = await get_last(self._client, source.stream, source.subject, marks=True)
            if wanted <= (stored.sequence if stored else 0):
                break
        return stored


def _sequence(headers: Mapping[str, str], source: Source) -> int | None:
    """Sequence of the message that rang, None for a ring that the source's stream did not make.

    A device can have the answer to a Direct Get of its own sent here; but the server marks it with where it was read, whatever its own
    headers say. Without this one message would make the whole fleet read.
    """
    if headers.get("Nats-Stream") != source.stream or not _is_of(headers.get("Nats-Subject", ""), source.subject):
        return None
    try:
        return int(headers.get("Nats-Sequence", ""))
    except ValueError:
        return None


def _time(headers: Mapping[str, str]) -> datetime | None:
    with contextlib.suppress(ValueError):
        return parse_rfc3339(headers.get("Nats-Time-Stamp", ""))
    return None


def _is_of(subject: str, wanted: str) -> bool:
    """Whether ``subject`` is the one that is wanted, or one of them where its last token is ``*``."""
    if not wanted.endswith(".*"):
        return subject == wanted
    above, _, last = subject.rpartition(".")
    return bool(last) and above == wanted[:-2]


async def _unsubscribe(state: _State) -> None:
    with contextlib.suppress(Exception):  # the connection may be gone, and the subscription with it
        await state.subscription.unsubscribe()
