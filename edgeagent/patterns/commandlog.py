"""Reading the numbered log of a scope: what is new in it, and when all that has not expired must be looked at again.

The head is read first, then what is below it: the other order loses an entry that is written in between (docs/decisions.md). The hub
is not believed: it may lag behind, have been restored from an older copy, or be another one. All of that ends in reading again, and
a command whose id is in the journal never runs a second time. Nor is anybody who writes there: what an entry says of the log, and its
number, decide how much is read, never that something which has not expired is left out (docs/decisions.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

from edgeagent import subjects
from edgeagent.command import digest, entry_of
from edgeagent.direct import Stored, get_last
from edgeagent.documents import LAG_SECONDS, LAG_TRIES, Source
from edgeagent.errors import EdgeError, Unreachable
from edgeagent.journalrows import Position
from edgeagent.link import Client
from edgeagent.subjects import Scope
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import Untrusted, check

__all__ = ["Head", "Plan", "anew", "entry_digest", "head_of", "is_strangers", "number_of", "plan", "portions", "read", "source"]

STREAM = "EDGE_COMMANDS"
#: Reads on the way at once: the first time, and at most.
FIRST_WINDOW, WINDOW = 16, 128
#: What one window may hold, in bytes, judged by the largest entry of the one before; and what of it is judged at once.
WINDOW_BYTES = PORTION_BYTES = 1 << 20
#: So many numbers are read for one head at most: whoever can write there chooses its number, and must not be able to keep a device
#: reading. Of a head that is further away so many are read after the last known entry and, if it is signed, before the head.
MAX_GAP, NEAR = 10_000, 1000
#: How many entries that have expired a device that missed them still reads, to say so of each; what is before those is passed over.
MAX_EXPIRED = 1000
#: So much of a log's name is kept; a random one of ours has 32 letters.
MAX_LOG = 64


class Head(NamedTuple):
    """The newest entry of a log. log, floor: as it says; empty and 0 when nobody whom this device trusts signed it."""

    number: int
    digest: str
    log: str = ""
    floor: int = 0


class Plan(NamedTuple):
    """Read these numbers, and the head itself if the last of them end there. log: what the log is called from then on.

    floor: from there on all must be there. told: what is below it and has ended already is passed over without a word. anew: forget
    what was read of the log before.
    """

    numbers: tuple[range, ...]
    log: str
    floor: int
    told: int
    anew: bool = False

    @property
    def first(self) -> int:
        return self.numbers[0].start


def source(scope: Scope, key: str) -> Source:
    """What to follow. key: the follower's name for it."""
    return Source(key, STREAM, subjects.command_log(scope), subjects.command_doorbell(scope))


def number_of(subject: str) -> int:
    """The number in an entry's subject; 0 when there is none."""
    word = subject.rpartition(".")[2]
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 15 else 0


def head_of(scope: Scope, stored: Stored, pins: Pins) -> Head:
    """What the newest entry says of its log."""
    number, mark = number_of(stored.subject), digest(stored.data)
    try:
        found = check(stored.data, kind="command", scope=scope, pins=pins)
        entry = entry_of(found.body)
    except EdgeError:
        return Head(number, mark)
    if found.number != number or not entry.log:
        return Head(number, mark)
    return Head(number, mark, entry.log[:MAX_LOG], max(1, min(entry.floor, number)))


def is_strangers(scope: Scope, data: bytes, pins: Pins) -> bool:
    """Whether an entry does not count because of who signed it, so that a newer document of who may sign could make it count."""
    try:
        check(data, kind="command", scope=scope, pins=pins)
    except Untrusted:
        return True
    except EdgeError:
        pass
    return False


def plan(position: Position | None, below: int, noted: str, head: Head) -> Plan | None:
    """What to read of a log with this head; None: nothing.

    position: how far it was read, None for never. below: number of the newest entry before the head that was noted, 0 for none. noted:
    the digest that was noted for the head's number, empty for none.
    """
    if noted == head.digest:
        return None  # it is the one that was read last, or the server that answered lags behind
    if position is None or (noted and head.log):
        return anew(head)
    if head.number > position.cursor:
        return _on_from(position.cursor, position.log, head)
    if not head.log:
        return None
    # Somebody had gone ahead with a number of his choice, and others go on from where they were; or what was noted is forgotten.
    return _on_from(below, position.log, head) if below else anew(head)


def anew(head: Head) -> Plan:
    """What to read of a log of which nothing is known. Its floor can only have more read than the newest :data:`NEAR`: it is but
    somebody's word, and what is below it may not have expired."""
    if not head.log:
        return Plan(_numbers(1, head), "", head.number, head.number, anew=True)
    recent = head.number - NEAR
    first = max(1, min(head.floor, recent), head.number - MAX_GAP)
    return Plan((range(first, head.number),), head.log, max(head.floor, recent), head.floor, anew=True)


def _on_from(last: int, log: str, head: Head) -> Plan:
    numbers = _numbers(last + 1, head)
    if not head.log:
        return Plan(numbers, log, head.number, last + 1)
    told = max(last + 1, head.floor - MAX_EXPIRED)
    return Plan(numbers, head.log, max(last + 1, head.floor, head.number - NEAR), told)


def _numbers(first: int, head: Head) -> tuple[range, ...]:
    if head.number - first <= MAX_GAP:
        return (range(first, head.number),)
    near = range(first, first + NEAR)
    return (near, range(head.number - NEAR, head.number)) if head.log else (near,)


async def read(client: Client, scope: Scope, head: Stored, wanted: Plan) -> AsyncIterator[list[tuple[int, bytes]]]:
    """``(number, envelope)`` of the entries that ``wanted`` asks for, in order, a window at a time; what was purged is left out.

    Raises Unreachable when the hub does not answer, not as it should, or by a server that lags behind the one that had the head.
    """
    last, size = number_of(head.subject), FIRST_WINDOW
    for part in wanted.numbers:
        first = part.start
        while first < part.stop:
            numbers = range(first, min(first + size, part.stop))
            found = await _window(client, scope, numbers, wanted.floor, last)
            if found:
                yield found
            largest = max((len(data) for _, data in found), default=1)
            first, size = numbers.stop, max(4, min(WINDOW, 2 * size, WINDOW_BYTES // max(1, largest)))
    if wanted.numbers[-1].stop == last:
        yield [(last, head.data)]


def portions(window: list[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """The entries of a window, so many at a time that they have :data:`PORTION_BYTES` together; one at least."""
    portion, size = list[tuple[int, bytes]](), 0
    for number, data in window:
        if portion and size + len(data) > PORTION_BYTES:
            yield portion
            portion, size = [], 0
        portion.append((number, data))
        size += len(data)
    if portion:
        yield portion


async def _window(client: Client, scope: Scope, numbers: range, floor: int, head: int) -> list[tuple[int, bytes]]:
    """The entries ``numbers`` that there are. What is not there from ``floor`` on was purged only if the server that says so has the
    entry ``head`` too: in a cluster another one may answer than before, and nats-server lets it when it has caught up by nine tenths."""
    found: dict[int, bytes] = {}
    missing, is_current = list(numbers), False
    for attempt in range(LAG_TRIES + 1):
        if attempt:
            await asyncio.sleep(LAG_SECONDS)
            is_current = await _entry(client, scope, head) is not None
        answers = await asyncio.gather(*(_entry(client, scope, number) for number in missing), return_exceptions=True)
        for number, answer in zip(missing, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            if answer is not None:
                found[number] = answer
        missing = [number for number in missing if number not in found and number >= floor]
        if not missing:
            return sorted(found.items())
    if not is_current:
        raise Unreachable(f"read the log of {scope}", "the server of the hub that answers lags behind")
    return sorted(found.items())


async def _entry(client: Client, scope: Scope, number: int) -> bytes | None:
    try:
        stored = await get_last(client, STREAM, subjects.command_log(scope, number))
    except EdgeError as error:
        raise Unreachable(error.what, error.why) from None
    return stored.data if stored else None


async def entry_digest(client: Client, scope: Scope, number: int, head: int) -> str:
    """The digest of one entry as the hub has it now; empty when it was purged. head: number of the newest. Raises Unreachable."""
    found = await _window(client, scope, range(number, number + 1), number, head)
    return digest(found[0][1]) if found else ""
