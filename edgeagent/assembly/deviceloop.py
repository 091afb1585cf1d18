"""The life of the process on a device: one agent after the other, until one is stopped or can't go on.

``edgeagent run`` becomes :mod:`edgeagent.assembly.agent`, which runs :func:`main`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from edgeagent import runtime, settings
from edgeagent.assembly import freememory
from edgeagent.assembly.device import Agent
from edgeagent.assembly.deviceleaf import ANEW
from edgeagent.backoff import Backoff
from edgeagent.errors import EdgeError
from edgeagent.settings import Settings

__all__ = ["main", "run"]

log = logging.getLogger("edgeagent")

#: Pauses before an agent begins anew, and how long the one before must have gone well for the first pause to come back, in seconds.
FIRST_SECONDS, CAP_SECONDS, GOOD_SECONDS = 1.0, 30.0, 60.0


async def run(wanted: Settings) -> None:
    """Be the agent until SIGTERM, SIGINT or SIGHUP."""
    stop = runtime.stop_on_signals()
    progress = runtime.Progress()
    beside = [
        asyncio.create_task(runtime.feed_watchdog(progress), name="watchdog"),
        asyncio.create_task(freememory.keep_giving_back(), name="memory"),
    ]
    try:
        await _live(wanted, stop, progress)
    finally:
        for task in beside:
            task.cancel()


async def _live(wanted: Settings, stop: asyncio.Event, progress: runtime.Progress) -> None:
    """One agent after the other, until one is stopped or can't go on."""
    pauses, clock = Backoff(FIRST_SECONDS, CAP_SECONDS, good_seconds=GOOD_SECONDS), asyncio.get_running_loop().time
    while not stop.is_set():
        begun = clock()
        try:
            async with Agent(wanted, stop, progress=progress) as agent:
                await agent.run()
        except ANEW as reason:
            log.warning("%s; the agent begins anew", reason.why)
            await runtime.unless(stop, asyncio.sleep(pauses.next(clock() - begun)))


def main() -> None:
    """Be the agent with the settings in the file that the first argument names; without one, those at the default place."""
    try:
        wanted = settings.load(Path(sys.argv[1]) if sys.argv[1:] else None)
        runtime.set_up_logging(wanted.agent.log_level)
        asyncio.run(run(wanted))
    except EdgeError as error:
        sys.stderr.write(f"edgeagent: {error}\n")
        sys.exit(error.exit_code)
