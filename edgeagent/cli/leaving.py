"""When nobody watches any more what goes on elsewhere: the terminal was closed, the reader of a pipe left, or somebody ended us."""

from __future__ import annotations

import asyncio
import select
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from edgeagent.cli.pipe import READER_LEFT, silence
from edgeagent.runtime import woken

__all__ = ["Left", "silence", "unless_left"]

T = TypeVar("T")

#: How often to look whether the reader of our output has left, in seconds: whoever follows a quiet journal writes nothing that would tell.
LOOK_SECONDS = 0.5


class Left(Exception):
    """code: the exit code that says why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def unless_left(work: Coroutine[Any, Any, T]) -> T:
    """Do ``work``; raise Left, with ``work`` cancelled, once nobody watches any more. Ctrl-C stays KeyboardInterrupt."""
    loop, doing, codes = asyncio.get_running_loop(), asyncio.ensure_future(work), list[int]()

    def leave(code: int) -> None:
        codes.append(code)
        doing.cancel()

    # Only the main thread hears signals.
    signals = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    for number in signals:
        loop.add_signal_handler(number, leave, 128 + number)
    looking = asyncio.ensure_future(_reader_left())
    looking.add_done_callback(lambda done: None if done.cancelled() else leave(READER_LEFT))
    try:
        return await doing
    except asyncio.CancelledError:
        if codes:
            raise Left(codes[0]) from None
        raise
    except BrokenPipeError:
        raise Left(READER_LEFT) from None
    finally:
        looking.cancel()
        for number in signals:
            loop.remove_signal_handler(number)


async def _reader_left() -> None:
    """Return when nobody can read our output any more; never for a file or where there is none."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        await asyncio.Event().wait()
        return
    poll = select.poll()
    poll.register(output, 0)  # an error and the end are told without being asked for
    while not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        await woken(asyncio.Event(), LOOK_SECONDS)
