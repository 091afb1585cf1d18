"""Free memory of the agent's process, given back to the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes

__all__ = ["keep_giving_back"]

#: How long after its start the agent has settled, and how often its free memory goes back to the kernel then, in seconds.
STARTED_SECONDS, EVERY_SECONDS = 15.0, 600.0


async def keep_giving_back() -> None:
    """Give memory that is free to the kernel, for ever: soon after the start, then now and then.

    Starting needs 2 MiB more than running, as does a large configuration or file now and then, and glibc keeps what lies between.
    """
    pause = STARTED_SECONDS
    while True:
        await asyncio.sleep(pause)
        _give_back()
        pause = EVERY_SECONDS


def _give_back() -> None:
    with contextlib.suppress(AttributeError):  # a C library of another kind (musl)
        ctypes.CDLL(None).malloc_trim(0)  # malloc_trim(3): 2 ms here
