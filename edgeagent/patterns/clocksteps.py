"""Notices when the wall clock steps, writes it down, and learns the true time: what :mod:`edgeagent.patterns.truetimes` computes with."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from edgeagent import files, localsubjects
from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.patterns.locallog import LocalLog
from edgeagent.patterns.truetimes import Stretch, TrueTimes, began, learned, stepped

__all__ = ["FILE", "ClockSteps", "Known", "read_clocks", "read_times"]

log = logging.getLogger(__name__)

FILE = "clock.json"
STREAMS = (localsubjects.LOCAL_METRICS, localsubjects.LOCAL_DATA)
_SECOND = 1_000_000_000
#: How often the clocks are compared, in seconds. What is stored between a step and this is looked through by its stamps.
LOOK_SECONDS = 1.0
#: A smaller change is no step: a kernel that slews its clock slews both, and two reads of a busy machine lie apart.
STEP_NS = _SECOND // 2
#: So many messages at most are looked through for those that were stamped since the step.
MAX_SCAN = 5000
#: So long after the link came the forwarder waits no longer for the time, in seconds: samples that say "estimated" are better than none.
PATIENCE_SECONDS = 60.0


class Known(Protocol):
    """The time as far as it is known: :class:`edgeagent.patterns.knowntime.KnownTime`."""

    def now(self) -> float | None: ...

    def wanted(self) -> None: ...


def read_clocks() -> tuple[int, int]:
    """The boot clock and the wall clock at one moment, in nanoseconds: of some tries the one that took the least time."""
    tries = []
    for _ in range(3):
        before, wall, after = (
            time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            time.time_ns(),
            time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        )
        tries.append((after - before, (before + after) // 2, wall))
    _, boot, wall = min(tries)
    return boot, wall


class ClockSteps:
    """Follows the clock of one device, in ``clock.json`` of the state folder.

    client: to the leaf. boot: id of this boot. synchronized: whether something keeps the system's clock right. on_known: called when more
    is known. clocks: as :func:`read_clocks`.
    """

    def __init__(
        self,
        client: Client,
        folder: Path,
        boot: str,
        known: Known,
        *,
        synchronized: Callable[[], bool],
        on_known: Callable[[], None] = lambda: None,
        clocks: Callable[[], tuple[int, int]] = read_clocks,
    ) -> None:
        self._logs = {stream: LocalLog(client, stream) for stream in STREAMS}
        self._path, self._boot, self._known = folder / FILE, boot, known
        self._synchronized, self._on_known, self._clocks = synchronized, on_known, clocks
        self._since_link: float | None = None
        self._looked = 0
        self._checked: set[str] = set()
        self.times = read_times(folder)

    def link_came(self) -> None:
        """The hub can be asked for the time."""
        self._since_link = asyncio.get_running_loop().time()
        if not self._knows():
            self._known.wanted()

    def may_send(self, stream: str, sequence: int) -> bool:
        """Whether the forwarder may send that message: its true time is known, or it has been waited for long enough."""
        if self.times.is_known(stream, sequence):
            return True
        self._known.wanted()
        came = self._since_link
        return came is not None and asyncio.get_running_loop().time() - came > PATIENCE_SECONDS

    def when(self, stream: str, sequence: int, stored: int, own: float) -> tuple[int, bool]:
        """For the forwarder: :meth:`TrueTimes.of_sample`."""
        return self.times.of_sample(stream, sequence, stored, own)

    async def run(self) -> None:
        """Follow the clock for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Compare the clocks once, and write down what is new."""
        before = self.times
        is_right = self._synchronized()  # first: a clock that is set is not kept right for a moment
        boot, wall = self._clocks()
        self._note_step(boot, wall - boot)
        self._note_truth(boot, wall - boot, is_right)
        await self._note_first()
        self._looked = boot
        if self.times != before:
            await asyncio.to_thread(self._write)
            self._on_known()

    def _knows(self) -> bool:
        return self._boot in self.times.truths

    def _note_step(self, boot: int, ahead: int) -> None:
        newest = self.times.stretches[-1] if self.times.stretches else None
        is_same_boot = newest is not None and newest.boot == self._boot
        if newest is not None and is_same_boot and abs(ahead - newest.ahead) < STEP_NS:
            return
        if newest is not None and is_same_boot:
            log.warning("the clock stepped by %+.1f s", (ahead - newest.ahead) / _SECOND)
        since = (self._looked or (newest.since if newest else 0)) if is_same_boot else 0
        self.times = stepped(self.times, Stretch(self._boot, since, ahead))

    def _note_truth(self, boot: int, ahead: int, is_right: bool) -> None:
        now = None if is_right else self._known.now()
        truth = ahead if is_right else None if now is None else round(now * _SECOND) - boot
        if truth is not None and abs(truth - self.times.truths.get(self._boot, 0)) >= STEP_NS:
            self.times = learned(self.times, self._boot, truth)

    async def _note_first(self) -> None:
        """Find the first message of each stretch of this boot in each stream, where that is not known; later, while the leaf is away.

        An older one lacks it when the clock stepped again before the leaf could be asked.
        """
        for stream in STREAMS:
            missing = self._missing(stream)
            if not missing and stream in self.times.stretches[-1].first and stream in self._checked:
                continue
            with contextlib.suppress(EdgeError):
                local = self._logs[stream]
                last = (await local.state()).last
                newest = self.times.stretches[-1]
                if newest.first.get(stream, last + 2) > last + 1:  # not known, or the stream was made anew
                    self.times = began(self.times, stream, await self._first(local, last, newest))
                for index in missing:
                    last = self.times.stretches[index + 1].first[stream] - 1
                    self.times = began(self.times, stream, await self._first(local, last, self.times.stretches[index]), index)
                self._checked.add(stream)

    def _missing(self, stream: str) -> list[int]:
        """Where the older stretches of this boot are whose first message is not known, newest first."""
        older = reversed(list(enumerate(self.times.stretches[:-1])))
        return [index for index, each in older if each.boot == self._boot and stream not in each.first]

    async def _first(self, local: LocalLog, last: int, stretch: Stretch) -> int:
        """Going back from ``last``, the first message whose stamp says that it was stored in that stretch. Raises EdgeError."""
        earliest, latest = stretch.since - STEP_NS, self._clocks()[0] + STEP_NS
        for sequence in range(last, max(0, last - MAX_SCAN), -1):
            stored = await local.at(sequence)
            if stored is not None and not earliest <= stored.time - stretch.ahead <= latest:
                return sequence + 1
        return max(1, last - MAX_SCAN + 1)

    def _write(self) -> None:
        with contextlib.suppress(EdgeError):  # a full disk; what is known now counts until the agent ends
            files.write_atomic(self._path, msgspec.json.encode(self.times) + b"\n", 0o600)


def read_times(folder: Path) -> TrueTimes:
    """What an agent with this state folder has written down of the clock; nothing when it has not, or the file is damaged."""
    path = folder / FILE
    try:
        return msgspec.json.decode(files.read_if_there(path) or b"{}", type=TrueTimes)
    except (EdgeError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("cannot read %s: %s. It is begun anew", path, error)
        return TrueTimes()
