"""The small pieces every long-running process of ours needs: named tasks with an owner, signals, systemd's notify socket, logs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = [
    "CANCEL_AGAIN_SECONDS",
    "Progress",
    "Tasks",
    "feed_watchdog",
    "jittered",
    "notify_systemd",
    "set_up_logging",
    "stop_on_signals",
    "unless",
    "woken",
]

log = logging.getLogger(__name__)


#: A task that was cancelled and still runs is cancelled again after this long, in seconds.
CANCEL_AGAIN_SECONDS = 1.0


class Tasks:
    """Named background tasks with one owner; the first that fails is what :meth:`wait` raises."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        if self._failed.done():
            log.error("%s failed", task.get_name(), exc_info=task.exception())
        else:
            self._failed.set_exception(task.exception() or RuntimeError(task.get_name()))

    def fail(self, error: Exception) -> None:
        """Make :meth:`wait` raise ``error``, as a failed task would; nothing happens when one has failed before, or after the close."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def wait(self, stop: asyncio.Event) -> None:
        """Return when ``stop`` is set; raise what a task raised, if one fails before."""
        stopping = asyncio.ensure_future(stop.wait())
        waiting: set[asyncio.Future[Any]] = {stopping, self._failed}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if self._failed.done():
            self._failed.result()

    async def close(self) -> None:
        """Cancel what still runs and wait for its end. Safe to call twice."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            # Again and again: a task that gets its answer in the moment of its cancellation never learns of it (asyncio.wait_for
            # before Python 3.12, which nats-py uses for requests), and would go on for ever.
            await asyncio.wait(self._tasks, timeout=CANCEL_AGAIN_SECONDS)
        if not self._failed.done():
            self._failed.cancel()
        elif not self._failed.cancelled():
            self._failed.exception()  # retrieved, so that asyncio does not report it a second time


async def woken(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until the event is set, at most so many seconds (None: for ever); clear it, and say whether it was set.

    For loops: ``asyncio.wait_for`` before Python 3.12 may swallow a cancellation that comes with its timeout.
    """
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiter}, timeout=seconds)
    finally:
        waiter.cancel()
    was_set = event.is_set()
    event.clear()
    return was_set


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM, SIGINT and SIGHUP set; a second SIGTERM or SIGINT ends the process at once, as people expect of Ctrl-C.

    SIGHUP: the terminal was closed. It comes twice then, from the kernel and from the shell, so the second one changes nothing; under
    ``nohup`` it is ignored, and stays so.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    return stop


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Do ``work`` and return True; False when ``stop`` is set before it is done: it is cancelled then, and has ended.

    Raises what ``work`` raises, also after the stop.
    """
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        doing.cancel()
        await asyncio.wait({doing})
    if doing.cancelled():
        return False
    doing.result()
    return True


def notify_systemd(message: str) -> None:
    """Tell systemd, if it started us: ``READY=1``, ``STATUS=…``, ``STOPPING=1``, ``WATCHDOG=1`` (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(message.encode(), address)


class Progress:
    """When somebody who must not get stuck says something next. clock: monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._due = clock, float("inf")

    def within(self, seconds: float) -> None:
        """It goes on within so many seconds, and says the next word then."""
        self._due = self._clock() + seconds

    def none(self) -> None:
        """Nobody is at work now."""
        self._due = float("inf")

    @property
    def is_late(self) -> bool:
        return self._clock() > self._due


async def feed_watchdog(progress: Progress) -> None:
    """Tell systemd's watchdog, if it watches us, that the event loop turns and ``progress`` is made: twice as often as it wants to hear it,
    for ever."""
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    while microseconds:
        if progress.is_late:
            log.error("the link's probe is stuck: systemd's watchdog is not fed, and restarts this process")
        else:
            notify_systemd("WATCHDOG=1")
        await asyncio.sleep(microseconds / 2_000_000)


def jittered(seconds: float, part: float = 0.1) -> float:
    """``seconds`` plus or minus up to ``part`` of it, so that a fleet does not act in step."""
    return seconds * random.uniform(1 - part, 1 + part)


def set_up_logging(level: str) -> None:
    """One line an event on standard error; without a time of our own under systemd, which adds one."""
    under_systemd = "JOURNAL_STREAM" in os.environ
    form = "%(levelname).1s %(name)s: %(message)s"
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format=form if under_systemd else f"%(asctime)s {form}", datefmt="%H:%M:%S"
    )
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # its errors reach us through error_cb; its tracebacks help nobody
