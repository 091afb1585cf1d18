"""The forwarder: takes a stream of the leaf to the hub in chunks, each message exactly once, for an outage of any length.

Its memory is the newest chunk on the hub. Each chunk is fenced by the hub's sequence of the one before, so one that comes late or twice is
refused, and so is a second forwarder. On any doubt it reads the newest chunk again and goes on from there. What it knows beyond that (a
hint, in a file) counts only when the hub has no chunk of this device at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from edgeagent import chunk
from edgeagent.backoff import delays
from edgeagent.chunk import Progress
from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.metricsettings import ForwardSettings
from edgeagent.patterns.forwardchunks import TOO_LARGE, Draft, Kind, Local, as_stored
from edgeagent.patterns.forwardhint import Hint
from edgeagent.patterns.forwardprogress import Range, jumped, passed, trimmed, waiting
from edgeagent.patterns.hubcursor import HubCursor
from edgeagent.patterns.locallog import LocalLog, State
from edgeagent.patterns.pace import Due, Pace, Rate
from edgeagent.publish import TooLarge, published_if
from edgeagent.ratelimit import RateLimits
from edgeagent.runtime import Tasks, unless, woken
from edgeagent.status import ForwardStatus

__all__ = ["Clock", "Forwarder", "Tell"]

log = logging.getLogger("edgeagent")

#: Bounds of the pause after the hub or the leaf could not be reached, in seconds.
RETRY_SECONDS = (0.5, 60.0)
#: Bounds of the pause between two looks at the local stream, in seconds: each is a small question to the leaf.
LOOK_SECONDS = (0.05, 5.0)
#: Devices that come back together begin within so many seconds, at most.
SPREAD_SECONDS = 5.0
#: So many bytes of the local stream fill a chunk of samples, roughly: they go at once.
FULL_BYTES = 64 << 10
#: What is sent within about a second, so that nothing has to be put before it: messages, and bytes of the local stream.
PROMPT_MESSAGES, PROMPT_BYTES = 5000, 1 << 20
#: How long what is new waits for others while a backlog is sent, at most, in seconds: the link is busy anyhow.
LIVE_SECONDS = 1.0
#: How often the hint is written, in seconds: it may be old, it is for a hub that has nothing.
HINT_SECONDS = 3600.0
#: How long the hub may take for an acknowledgement, in seconds, and what a slow link carries in one, in bytes.
ACK_SECONDS, SLOW_BYTES = 10.0, 8 << 10
#: How often to look whether the time has become known, in seconds.
HOLD_SECONDS = 1.0
#: How often it is told that a source's messages are malformed, in seconds.
COMPLAIN_SECONDS = 3600.0

#: Tells a person: severity, kind, text, data.
Tell = Callable[..., None]


class Clock(Protocol):
    """When what the local streams hold was true."""

    def may_send(self, stream: str, sequence: int) -> bool:
        """Whether the time of that message is known, or not worth waiting for."""

    def when(self, stream: str, sequence: int, stored: int, own: float) -> tuple[int, bool]:
        """When something in it was true, in Unix milliseconds, and whether that is a guess. stored: by the leaf, Unix nanoseconds. own: as its
        program says, Unix seconds; 0: it does not."""


class Forwarder:
    """One of the two streams of one device.

    client: to the leaf. hint: the file for it. hub: gives where the link leads. pace: may be that of several. tell: as :meth:`Events.tell`.
    clock: None: the device's is always right.
    """

    def __init__(
        self,
        client: Client,
        device_id: str,
        kind: Kind,
        settings: ForwardSettings,
        *,
        hint: Path,
        hub: Callable[[], str] = lambda: "",
        tell: Tell,
        pace: Pace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._client, self._kind, self._settings, self._hint = client, kind, settings, Hint(hint, hub)
        self._subject, self._tell, self._pace, self._clock = kind.say(device_id), tell, pace or Pace(), clock
        self._log = LocalLog(client, kind.local)
        self._hub = HubCursor(client, device_id, kind, self._log)
        self._wake, self._came, self._doubt = asyncio.Event(), asyncio.Event(), True
        self._due, self._live_was_last = Due(), False
        self._complaints = RateLimits(1 / COMPLAIN_SECONDS, 1, shared=10)
        self._state: State | None = None
        self._progress: Progress | None = None
        self._known, self._rate, self._fence, self._acknowledged, self._hinted = False, Rate(), 0, 0.0, float("-inf")

    def start(self, tasks: Tasks) -> None:
        """Forward from now on, until ``tasks`` are closed."""
        tasks.start(f"forward {self._kind.name}", self._run())

    def set_settings(self, settings: ForwardSettings) -> None:
        """Go on with these."""
        self._settings = settings
        self._wake.set()

    def hasten(self) -> None:
        """Let what is new wait for no others: none will come soon."""
        self._due.hasten()

    def link_came(self) -> None:
        """The hub can be reached (again)."""
        self._hint.came()
        self._doubt = True
        self._came.set()
        self._wake.set()

    def status(self) -> ForwardStatus:
        """How far it has come, as of its last look at the local stream; ``known`` is False before the hub could be asked."""
        progress, state = self._progress, self._state
        if progress is None or state is None or not self._known:
            return ForwardStatus(waiting=state.messages if state else 0)
        seen = trimmed(progress, state.first)
        return ForwardStatus(
            known=True,
            forwarded=seen.forwarded,
            waiting=waiting(seen, state.last),
            dropped=seen.dropped,
            acknowledged=self._acknowledged,
            rate=self._rate.value(time.monotonic()),
            epoch=seen.epoch,
        )

    async def _run(self) -> None:
        self._progress = self._hint.load()
        pauses = delays(*RETRY_SECONDS)
        try:
            while True:
                before = self._acknowledged
                with contextlib.suppress(EdgeError):
                    await self._look()
                try:
                    await self._resume()
                    await self._forward()
                except EdgeError as error:
                    log.debug("forwarding %s waits: %s", self._kind.name, error)
                if self._acknowledged > before:
                    pauses = delays(*RETRY_SECONDS)
                if not self._came.is_set():
                    await woken(self._wake, next(pauses))
        finally:
            self._save_hint()

    async def _look(self) -> State:
        self._state = await self._log.state()
        return self._state

    async def _resume(self) -> None:
        self._doubt = False
        if self._came.is_set():
            self._came.clear()
            await asyncio.sleep(random.uniform(0, min(SPREAD_SECONDS, self._settings.seconds)))
        cursor = await self._hub.read(await self._look(), self._hint.of(self._progress))
        if cursor.anew:
            self._tell("warning", "forward.anew", f"{cursor.anew}: its numbers begin anew at the hub", stream=self._kind.name)
        self._fence, self._progress, self._known = cursor.sequence, cursor.progress, True

    async def _forward(self) -> None:
        """Until there is a doubt. Raises EdgeError."""
        while not self._doubt:
            state = await self._look()
            if self._is_another(state):
                return
            todo = self._choose(state)
            if todo is None:
                await woken(self._wake, min(max(self._settings.seconds / 4, LOOK_SECONDS[0]), LOOK_SECONDS[1]))
                continue
            pause = self._pace.pause(time.monotonic())
            if pause:
                await woken(self._wake, pause)
                continue
            await self._send(todo, state)

    def _is_another(self, state: State) -> bool:
        """Whether the local stream was made anew, or put back to an older copy, while we ran."""
        assert self._progress is not None
        return state.created != self._progress.log or state.last < self._progress.next - 1

    def _choose(self, state: State) -> Range | None:
        """What to send now, None for nothing. What is new goes first, then a part of the backlog, and so on."""
        assert self._progress is not None
        progress = self._progress = trimmed(self._progress, state.first)
        new = Range(progress.next, state.last)
        mean = state.bytes / max(1, state.messages)
        if len(new) > PROMPT_MESSAGES or (len(new) > 1 and len(new) * mean > PROMPT_BYTES):
            progress = self._progress = jumped(progress, state.last)
            new = Range(progress.next, state.last)
        patience = min(self._settings.seconds, LIVE_SECONDS) if progress.gaps else self._settings.seconds
        full = len(new) >= chunk.MAX_SAMPLES or len(new) * mean >= FULL_BYTES
        live = len(new) > 0 and (self._due.look(len(new), time.monotonic()) >= patience or full)
        if progress.gaps and (self._live_was_last or not live):
            return Range(*progress.gaps[0])
        return new if live else None

    async def _send(self, todo: Range, state: State) -> None:
        """Send the first part of ``todo``, or drop what can't be sent. Raises EdgeError."""
        progress = self._progress
        assert progress is not None
        page = await self._log.read(todo.first, count=chunk.MAX_SAMPLES, max_bytes=self._kind.page_bytes)
        messages = [message for message in page.messages if message.sequence <= todo.last]
        if messages and not (messages := self._timed(messages)):
            await woken(self._wake, HOLD_SECONDS)
            return
        done = todo
        if not messages:  # none of these is there any more
            if not page.messages and page.upto is not None:
                done = Range(todo.first, min(todo.last, max(todo.first, page.upto)))
            self._progress = passed(progress, done, [], {})
            return

        def after(draft: Draft) -> Progress:
            return passed(progress, Range(todo.first, messages[draft.taken - 1].sequence), draft.sent, draft.dropped)

        draft = await self._sent(messages, after)
        if draft is None:
            return
        self._complain(draft)
        self._progress = after(draft)
        self._rate.add(len(draft.sent), time.monotonic())
        self._count(todo, messages[draft.taken - 1], state)

    async def _sent(self, messages: list[Local], after: Callable[[Draft], Progress]) -> Draft | None:
        """What of the first of them the hub has now, or never will; None: nothing is known. Raises EdgeError."""
        while True:
            draft, payload = self._kind.build(messages, self._when, after)
            try:
                return draft if not payload or await self._stored(payload) else None
            except TooLarge:  # its stream is not as it should be: that must not hold up everything
                self._doubt = False
                if draft.taken == 1:
                    return self._kind.given_up(messages[0], TOO_LARGE)
                messages = messages[: draft.taken // 2]

    def _timed(self, messages: list[Local]) -> list[Local]:
        """The first of them, as far as their time is known."""
        clock, stream = self._clock, self._kind.local
        return messages if clock is None else list(takewhile(lambda each: clock.may_send(stream, each.sequence), messages))

    def _when(self, message: Local, own: float) -> tuple[int, bool]:
        if self._clock is None:
            return as_stored(message, own)
        return self._clock.when(self._kind.local, message.sequence, message.time, own)

    async def _stored(self, payload: bytes) -> bool:
        what = f"forward {self._kind.name}"
        timeout = ACK_SECONDS + len(payload) / SLOW_BYTES
        self._doubt = True  # whatever happens now but an acknowledgement
        self._pace.spend(len(payload), time.monotonic())
        sequence: int | None = None

        async def publish() -> None:
            nonlocal sequence
            sequence = await published_if(self._client, self._subject, payload, self._fence, what=what, timeout=timeout)

        if not await unless(self._came, publish()) or sequence is None:  # the link was cut meanwhile, or another chunk came first
            return False
        self._doubt, self._fence, self._acknowledged = False, sequence, time.time()
        return True

    def _count(self, todo: Range, last: Local, state: State) -> None:
        self._live_was_last = todo.last == state.last
        if self._live_was_last and last.sequence == state.last:
            self._due.emptied()
        if time.monotonic() - self._hinted > HINT_SECONDS:
            self._save_hint()

    def _complain(self, draft: Draft) -> None:
        for cause, subject, why in draft.complaints:
            source = subject.split(".")[2]
            if self._complaints.allow(source):
                text = f"what {source} publishes on {subject} is dropped: {why}"
                self._tell("warning", f"{self._kind.name}.{cause}", text, source=source, subject=subject)

    def _save_hint(self) -> None:
        if self._acknowledged and self._progress is not None:
            self._hinted = time.monotonic()
            self._hint.save(self._progress)
