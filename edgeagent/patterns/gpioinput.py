"""One input pin that is watched: its edges come in a thread of gpiozero's, what counts of them goes to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from edgeagent.patterns.gpiosteady import Change, Steady
from edgeagent.runtime import woken

__all__ = ["MAX_EDGES_A_SECOND", "Input"]

#: The edges of a wire that swings are looked at together, after so many seconds.
LOOK_SECONDS = 0.02
#: A wire with more edges is not listened to for a second at a time: each costs some 50 microseconds of Python on a Pi.
MAX_EDGES_A_SECOND = 2000
PAUSE_SECONDS = 1.0
#: lgpio leaves out itself, in C, what is shorter than this part of the debounce time.
PART_IN_LIBRARY = 0.1


class Input:
    """pin: gpiozero's. level: what it is now, 1 for on; read: gives that again. debounce_seconds: see :class:`Steady`.

    on_changes: gets what counts, on the event loop. swings: how often it was not listened to because of too many edges.
    """

    def __init__(
        self,
        pin: Any,
        level: int,
        *,
        on_when_high: bool,
        debounce_seconds: float,
        read: Callable[[], int | None],
        on_changes: Callable[[list[Change]], None],
    ) -> None:
        self._pin, self._on_when_high, self._read, self._on_changes = pin, on_when_high, read, on_changes
        self._debounce_seconds = debounce_seconds
        self._lock, self._loop, self._wake = threading.Lock(), asyncio.get_running_loop(), asyncio.Event()
        self._steady = Steady(level, debounce_seconds, time.monotonic())
        self._edges, self._is_told = 0, False
        self.swings = 0

    @property
    def level(self) -> int:
        return self._steady.level

    @property
    def ons(self) -> int:
        """How often it went on."""
        return self._steady.ons

    @property
    def missed(self) -> tuple[int, int]:
        """Changes to off and to on that counted, and were too many to be told one by one."""
        return self._steady.missed[0], self._steady.missed[1]

    async def run(self) -> None:
        """Watch for ever. Raises what gpiozero raises when the pin can't be watched."""
        self._listen()
        try:
            began = time.monotonic()
            while True:
                await woken(self._wake, self._wait())
                self._settle()
                await asyncio.sleep(LOOK_SECONDS)
                if self._edges > MAX_EDGES_A_SECOND * max(1.0, time.monotonic() - began):
                    await self._pause()
                if time.monotonic() - began >= 1.0:
                    began, self._edges = time.monotonic(), 0
        finally:
            with contextlib.suppress(Exception):  # the library's, where the pin was closed
                self._pin.when_changed = None

    def _listen(self) -> None:
        self._pin.bounce = self._debounce_seconds * PART_IN_LIBRARY or None
        self._pin.edges = "both"
        self._pin.when_changed = self._edge
        self._look()

    def _edge(self, ticks: float, state: float) -> None:
        """In gpiozero's thread. Its own time is of a clock that depends on the library, and is not used."""
        with self._lock:
            self._steady.edge(time.monotonic(), int(bool(state) == self._on_when_high))
            self._edges += 1
            was_told, self._is_told = self._is_told, True
        if not was_told:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    def _look(self) -> None:
        """What it is now may have become so while nobody listened."""
        level = self._read()
        with self._lock:
            if level is not None:
                self._steady.edge(time.monotonic(), level)
        self._wake.set()

    def _wait(self) -> float | None:
        due = self._steady.due
        return None if due is None else max(0.0, due - time.monotonic())

    def _settle(self) -> None:
        with self._lock:
            self._is_told = False
            self._steady.settle(time.monotonic())
            changes = self._steady.taken()
        if changes:
            self._on_changes(changes)

    async def _pause(self) -> None:
        self.swings += 1
        self._pin.when_changed = None
        await asyncio.sleep(PAUSE_SECONDS)
        self._edges = 0
        self._listen()
