"""Keeps room in EDGE_COMMANDS and EDGE_RESULTS, shares that of chunks, and says when the store fills: the shell around
:mod:`edgeagent.hub.retention`.

Any number of instances may run: what one has purged the next does not find. Each tells what it sees.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from typing import Any

from nats.js import api

from edgeagent import subjects
from edgeagent.command import entry_of
from edgeagent.direct import get_last, in_our_words
from edgeagent.errors import EdgeError, Failed
from edgeagent.hub import events
from edgeagent.hub.bucket import PREFIX, purge
from edgeagent.hub.retention import (
    CROWDED,
    FULL,
    KEEP_ENTRIES_SECONDS,
    KEEP_RESULTS_SECONDS,
    ROOMY,
    TIGHT,
    Fill,
    Listed,
    Shares,
    entries_below,
)
from edgeagent.hub.runningclock import RunningClock
from edgeagent.link import Client
from edgeagent.patience import asked
from edgeagent.runtime import jittered
from edgeagent.times import rfc3339
from edgeagent.trust.signed import peek

__all__ = ["RetentionKeeper"]

log = logging.getLogger(__name__)

COMMANDS, RESULTS, AUDIT = "EDGE_COMMANDS", "EDGE_RESULTS", "EDGE_AUDIT"
#: How often to look how full they are, in seconds: five small questions.
LOOK_SECONDS = 5.0
#: How long until the same is told again, in seconds.
AGAIN_SECONDS = 86400.0
#: How many messages are listed with one question, and how long to wait for an answer, in seconds.
_PAGE, _TIMEOUT_SECONDS = 1000, 10.0
#: What nats-server stores of a message besides its subject, headers and payload, roughly, in bytes.
_OVERHEAD_BYTES = 32
#: Streams in which the oldest goes anyhow, and each device's subject there. Evened out at CROWDED, before it comes to that.
_CHUNKS = {subjects.METRICS: subjects.metric, subjects.DATA: subjects.data}
#: How many devices one event names.
_NAMED = 10
_REMEDIES = {
    COMMANDS: "Then nobody can command anything: enlarge the store, or purge what a stolen login wrote (docs/security.md)",
    RESULTS: "Devices with the most lose their oldest outcomes; when it is full, no device begins a command",
    AUDIT: "When it is full, its oldest entries go: save what is to stay with `edgeagent audit --json`",
}


class RetentionKeeper:
    """hub: a connection to the account HUB. keep_results, keep_entries: how long they stay at least while there is room, in seconds."""

    def __init__(
        self, hub: Client, *, keep_results: float = KEEP_RESULTS_SECONDS, keep_entries: float = KEEP_ENTRIES_SECONDS
    ) -> None:
        self._hub, self._keep_results, self._keep_entries = hub, keep_results, keep_entries
        self._clock = RunningClock(hub)
        self._said: dict[str, float] = {}
        self._audit_first = 0

    async def run(self) -> None:
        """Keep room for ever."""
        while True:
            try:
                await self.look()
            except EdgeError as error:
                log.warning("%s", error)
            await asyncio.sleep(jittered(LOOK_SECONDS))

    async def look(self) -> None:
        """Make room once, where it is needed. Raises EdgeError."""
        if (await self._warned(COMMANDS)).part > TIGHT:
            await self._let_old_entries_go()
        if (await self._warned(RESULTS)).part > TIGHT:
            await self._let_old_results_go()
        await self._look_at_the_audit(await self._warned(AUDIT))
        for stream, subject in _CHUNKS.items():
            if cut := await self._even_out(stream, subject, CROWDED, ROOMY):
                log.info("%s was nearly full: the oldest chunks went of the %d devices with most of it", stream, len(cut))

    async def _warned(self, stream: str) -> Fill:
        fill = await self._fill(stream)
        if fill.part >= FULL:
            text = f"{stream} is full by {fill.part:.0%} ({fill.bytes} of {fill.limit} bytes). {_REMEDIES[stream]}"
            await self._tell("warning", "hub.store_fills", stream, text, stream=stream, bytes=fill.bytes, limit=fill.limit)
        return fill

    async def _tell(self, severity: str, kind: str, about: str, text: str, **data: object) -> None:
        """Tell it, unless it was lately. about: what makes it another matter than one of the same kind."""
        key, now = f"{kind} {about}", time.monotonic()
        if now - self._said.get(key, float("-inf")) > AGAIN_SECONDS:
            self._said[key] = now
            await events.tell(self._hub, severity, kind, text, **data)

    async def _look_at_the_audit(self, fill: Fill) -> None:
        before, self._audit_first = self._audit_first, fill.first
        if before and fill.first > before:
            text = f"the audit lost its oldest {fill.first - before} entries, for it is full: it begins with entry {fill.first}"
            await self._tell("error", "hub.audit_lost", "", text, first=fill.first)

    # ---- outcomes ----

    async def _let_old_results_go(self) -> None:
        await self._purge(RESULTS, subjects.result("*", "*"), await self._first_young(RESULTS, self._keep_results))
        await self._tell_of_the_cut(await self._even_out(RESULTS, lambda device: subjects.result(device, "*"), FULL, TIGHT))

    async def _even_out(self, stream: str, subject: Callable[[str], str], above: float, target: float) -> dict[str, int]:
        """When a stream is full by the part ``above``, those devices that have most of it lose their oldest, until it is full by ``target``.

        subject: of all that a device has there. Returns the devices that lost something. Raises EdgeError.
        """
        fill = await self._fill(stream)
        if fill.part < above:
            return {}
        shares = Shares()
        async for each in self._listed(stream):
            shares.add(each)
        cut = await self._cut(stream, subject, shares, round(target * fill.limit))
        left = await self._fill(stream)
        if left.part >= above:  # its size does not tell who has it
            share = target * left.limit / left.bytes
            cut |= await self._cut(stream, subject, counted := shares.by_count(), round(share * counted.bytes))
        return cut

    async def _cut(self, stream: str, subject: Callable[[str], str], shares: Shares, room: int) -> dict[str, int]:
        cut = shares.cut(room)
        for device, before in cut.items():
            await self._purge(stream, subject(device), before)
        return cut

    async def _tell_of_the_cut(self, cut: dict[str, int]) -> None:
        if not cut:
            return
        names = sorted(cut)
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        text = (
            f"{RESULTS} was nearly full, so the oldest outcomes of those devices went that had most of it: "
            f"{', '.join(names[:_NAMED])}{more}. Is one of them out of order, `edgeagent device revoke` ends that"
        )
        await self._tell("error", "hub.results_purged", " ".join(names[:_NAMED]), text, devices=names[:_NAMED], count=len(names))

    # ---- logs ----

    async def _let_old_entries_go(self) -> None:
        before = await self._first_young(COMMANDS, self._keep_entries)
        logs: dict[str, dict[int, int]] = {}
        async for each in self._listed(COMMANDS, before):
            head, _, number = each.subject.rpartition(".")
            if number.isascii() and number.isdigit():
                logs.setdefault(f"{head}.*", {})[int(number[:20])] = each.sequence
        for subject, numbers in logs.items():
            await self._purge(COMMANDS, subject, entries_below(numbers, await self._floor(subject), before))

    async def _floor(self, subject: str) -> int:
        """Below which number entries may go: what the head of the log says, and never the head itself."""
        head = await get_last(self._hub, COMMANDS, subject, prefix=PREFIX)
        if head is None:
            return 0
        number = int(head.subject.rpartition(".")[2])
        try:
            return min(number, entry_of(peek(head.data).body.encode()).floor)
        except (EdgeError, UnicodeEncodeError):
            return number

    # ---- the store ----

    async def _fill(self, stream: str) -> Fill:
        info = await self._ask(f"STREAM.INFO.{stream}", f"see how full {stream} is")
        state = info["state"]
        return Fill(state["bytes"], info["config"]["max_bytes"], state["first_seq"], state["last_seq"])

    async def _first_young(self, stream: str, keep_seconds: float) -> int:
        """The sequence of the first message that is not so old yet; one past the last when all are. A hub's clock that is ahead makes
        nothing old (:mod:`edgeagent.hub.runningclock`)."""
        then = await self._clock.time() - keep_seconds
        moment = rfc3339(datetime.fromtimestamp(then, timezone.utc))
        question = json.dumps({"start_time": moment, "next_by_subj": ">"}).encode()
        found = await asked(self._hub, subjects.direct_get(stream, prefix=PREFIX), question, what=f"read {stream}")
        headers = found.headers or {}
        return int(headers["Nats-Sequence"]) if "Nats-Time-Stamp" in headers else (await self._fill(stream)).last + 1

    async def _ask(self, what: str, doing: str) -> Any:
        answer = json.loads((await asked(self._hub, f"{PREFIX}.{what}", b"", what=doing)).data)
        if error := answer.get("error"):
            raise Failed(doing, str(error.get("description")))
        return answer

    async def _purge(self, stream: str, subject: str, before: int) -> None:
        """Nothing happens for 0."""
        if before:
            await purge(self._hub, stream, subject, before=before, what=f"make room in {stream}")

    async def _listed(self, stream: str, before: int | None = None) -> AsyncIterator[Listed]:
        """The messages of a stream up to a sequence, without their payload. None: all there are now."""
        wanted = api.ConsumerConfig(
            ack_policy=api.AckPolicy.NONE, headers_only=True, mem_storage=True, inactive_threshold=2 * _TIMEOUT_SECONDS
        )
        with in_our_words(f"list {stream}"):
            listing = await self._hub.jetstream().pull_subscribe("", stream=stream, config=wanted)
            try:
                pending = (await listing.consumer_info()).num_pending or 0
                while pending:
                    for message in await listing.fetch(min(_PAGE, pending), timeout=_TIMEOUT_SECONDS):
                        pending -= 1
                        place, headers = message.metadata.sequence.stream, message.headers or {}
                        if before is not None and place >= before:
                            return
                        yield Listed(message.subject, place, _size(message.subject, headers))
            finally:
                await listing.unsubscribe()


def _size(subject: str, headers: dict[str, str]) -> int:
    """Bytes of a message, of which the listing has the headers, and the size of the payload in one of the hub's own."""
    payload = headers.get("Nats-Msg-Size", "0")
    more = sum(len(name) + len(value) + 4 for name, value in headers.items())
    return _OVERHEAD_BYTES + len(subject) + more + (int(payload) if payload.isascii() and payload.isdigit() else 0)
