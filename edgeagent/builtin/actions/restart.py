"""``agent.restart``: end the agent, so that systemd starts it again, with the settings as they are then."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from edgeagent.actions import Context, NoArguments, Outcome, action

__all__: list[str] = []

#: How long the agent may take to stop: its leaf and its tasks have 10 s each, in seconds.
STOPPING_SECONDS = 60.0


def _runs_again(context: Context, args: Any, before_boot: str) -> Outcome:
    return Outcome("succeeded")


@action(
    "agent.restart",
    description="Restart the agent; local programs keep their leaf where that is a service of its own.",
    timeout_seconds=STOPPING_SECONDS + 10,
    supersedes=True,
    recover=_runs_again,
)
async def restart(context: Context, args: NoArguments) -> Outcome:
    if "NOTIFY_SOCKET" not in os.environ:  # systemd's word to a service of Type=notify, as ours is
        return Outcome("refused", "the agent was not started by systemd, so nothing would start it again")
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(STOPPING_SECONDS)
    return Outcome("failed", f"the agent still runs {STOPPING_SECONDS:g} s after it was told to stop")
