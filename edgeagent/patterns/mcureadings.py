"""What a microcontroller measures goes into the leaf's store, and is acknowledged to it when it is on disk: each reading once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from edgeagent.backoff import delays
from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.link import Client
from edgeagent.localsubjects import local_metric
from edgeagent.mcumessages import Hello, Reading, samples_of
from edgeagent.patterns.mcuorder import Order, Taken
from edgeagent.patterns.ownlog import HEADER_BYTES, OwnLog
from edgeagent.runtime import jittered, woken
from edgeagent.sample import COUNTER, MAX_PAYLOAD_BYTES, Sample

__all__ = ["SOURCE", "Readings"]

log = logging.getLogger("edgeagent")

#: Whose the samples of all microcontrollers are on the leaf: only the agent writes there.
SOURCE = "mcu"
#: Readings and plain samples that wait for the store; beyond that they stay with the microcontroller, or with its MQTT session.
MAX_WAITING = 512
#: What one message may hold besides samples: the numbers of :data:`edgeagent.patterns.mcuorder.MAX_BOOTS` boots.
ROOM_FOR_ORDER = 1536
#: Bounds of the pause after the store took nothing, in seconds.
RETRY_SECONDS = (0.2, 10.0)
#: At which failure in a row that is logged: at its very first start the agent makes the store at the same time.
WARN_AT = 3
#: How long readings gather before they are written together, in seconds: each message costs the card some hundred bytes.
GATHER_SECONDS = 0.1
#: So many do not wait for others: half of what a microcontroller sends before one is acknowledged.
ENOUGH = 8


class _Stored(msgspec.Struct, omit_defaults=True):
    """A message of the leaf's store: samples as any program writes them, and what was taken with them."""

    samples: list[Sample] = []
    taken: Taken = Taken()


class _Entry(NamedTuple):
    """samples that are stored together, what is taken when they are, and who waits for it."""

    samples: list[Sample]
    taken: Taken
    done: asyncio.Future[None] | None
    size: int


class Readings:
    """The intake of one microcontroller.

    client: to the leaf. ack: told, after each write, the boots whose readings were in it with the highest that is on disk.
    readings: how many were taken since the agent started, with a number or without. malformed: how many of these could not be stored as samples.
    """

    def __init__(self, client: Client, mcu_id: str, *, ack: Callable[[str, int], None]) -> None:
        self._id, self._ack = mcu_id, ack
        self._log = OwnLog(client, local_metric(f"{SOURCE}.{mcu_id}"), what=f"store the readings of {mcu_id}")
        self._order: Order | None = None
        self._stored = Taken()
        self._waiting: deque[_Entry] = deque()
        self._wake, self._enough = asyncio.Event(), asyncio.Event()
        self._lost_counted = 0
        self.readings = 0
        self.malformed = 0
        self.problem: EdgeError | None = None

    @property
    def lost(self) -> int:
        """Readings that it dropped itself before anybody took them."""
        return self._order.taken.lost if self._order else 0

    @property
    def waiting(self) -> int:
        """What the leaf's store does not have yet."""
        return len(self._waiting)

    @property
    def is_ready(self) -> bool:
        """Whether what was taken before is known: readings that come before that are left to come again."""
        return self._order is not None

    def hello(self, said: Hello) -> None:
        """It has begun, or says again what it has."""
        if self._order is None:
            return
        self._order.hello(said.b, said.o, said.lost)
        if self._order.taken.lost != self._lost_counted:
            self._wake.set()
        self._ack_again(said.b)

    def reading(self, said: Reading) -> bool:
        """Take it, if it is the next one. False: one before it is missing, not known, or dropped: how many were says the next ``hello``."""
        if self._order is None or len(self._waiting) >= MAX_WAITING:
            return self._order is not None
        boot = said.b
        is_known = said.o - 1 <= self._order.last(boot)
        verdict = self._order.judge(boot, said.s, said.o)
        if verdict == "again":
            self._ack_again(boot)
        if verdict != "new":
            return verdict == "again"
        self.readings += 1
        self._add(self._samples(said), None)
        return is_known

    async def store(self, samples: list[Sample]) -> None:
        """Plain samples, without numbers of their own. Returns when they are on disk; raises UsageProblem when they can never be."""
        size = _size(samples)
        if size > MAX_PAYLOAD_BYTES - HEADER_BYTES - ROOM_FOR_ORDER:
            raise UsageProblem(
                f"store the samples of {self._id}", f"{size} bytes are too many for one message", "send fewer in one"
            )
        while self._order is None or len(self._waiting) >= MAX_WAITING:  # noqa: ASYNC110 - either of two things may end it
            await asyncio.sleep(GATHER_SECONDS)
        done = asyncio.get_running_loop().create_future()
        self.readings += 1
        self._add(samples, done)
        await done

    async def run(self) -> None:
        """Write for ever."""
        pauses, failures = delays(*RETRY_SECONDS), 0
        while True:
            try:
                if self._order is None:
                    self._order = Order(_taken_in(await self._log.newest()))
                    self._stored = self._order.taken
                    self._lost_counted = self._stored.lost
                await woken(self._wake, None if not self._waiting else 0)
                await woken(self._enough, GATHER_SECONDS)
                self._count_lost()
                await self._write_all()
                self.problem, pauses, failures = None, delays(*RETRY_SECONDS), 0
            except EdgeError as error:
                failures += 1
                if failures == WARN_AT:
                    log.warning("%s", error)
                self.problem = error
                await asyncio.sleep(jittered(next(pauses)))

    def _samples(self, said: Reading) -> list[Sample]:
        try:
            samples = samples_of(self._id, said, time.time())
            if samples and _size(samples) <= MAX_PAYLOAD_BYTES - HEADER_BYTES - ROOM_FOR_ORDER:
                return samples
        except (ValueError, OverflowError) as error:
            log.debug("a reading of %s: %s", self._id, error)
        self.malformed += 1  # it is taken all the same: it would come again for ever
        return [self._count("malformed", self.malformed)]

    def _count(self, what: str, count: int) -> Sample:
        return Sample(f"mcu.readings_{what}", count, {"mcu": self._id}, time.time(), "{reading}", COUNTER)

    def _count_lost(self) -> None:
        """Once for each write, however often it says another number."""
        if self.lost != self._lost_counted:
            self._lost_counted = self.lost
            self._add([self._count("lost", self.lost)], None)

    def _add(self, samples: list[Sample], done: asyncio.Future[None] | None) -> None:
        assert self._order is not None
        self._waiting.append(_Entry(samples, self._order.taken, done, _size(samples)))
        self._wake.set()
        if len(self._waiting) >= ENOUGH:
            self._enough.set()

    def _ack_again(self, boot: str) -> None:
        if boot in self._stored.boots:
            self._ack(boot, self._stored.boots[boot][0])

    async def _write_all(self) -> None:
        while self._waiting:
            entries = self._some()
            taken = entries[-1].taken
            samples = [sample for entry in entries for sample in entry.samples]
            await self._log.store(msgspec.json.encode(_Stored(samples, taken)))
            before, self._stored = self._stored, taken
            for entry in entries:
                self._waiting.popleft()
                if entry.done and not entry.done.done():
                    entry.done.set_result(None)
            for boot, (last, _) in taken.boots.items():
                if before.boots.get(boot, (0, 0))[0] != last:
                    self._ack(boot, last)

    def _some(self) -> list[_Entry]:
        """As many as one message has room for."""
        entries: list[_Entry] = []
        room = MAX_PAYLOAD_BYTES - HEADER_BYTES - ROOM_FOR_ORDER
        for entry in self._waiting:
            room -= entry.size
            if room < 0:
                break
            entries.append(entry)
        return entries


def _size(samples: list[Sample]) -> int:
    return len(msgspec.json.encode(samples))


def _taken_in(data: bytes) -> Taken:
    """What a stored message says was taken; nothing where it says nothing, or somebody else wrote it."""
    try:
        return msgspec.json.decode(data, type=_Stored).taken if data else Taken()
    except (ValueError, UnicodeDecodeError):
        return Taken()
