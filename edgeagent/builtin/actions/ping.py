"""``ping``: the device took a command and carried it out; it does nothing else."""

from __future__ import annotations

from edgeagent import __version__
from edgeagent.actions import HOUR, Context, NoArguments, Outcome, action

__all__: list[str] = []


@action(
    "ping",
    description="Do nothing but answer.",
    default_expiry_seconds=30,
    max_expiry_seconds=HOUR,
    idempotent=True,
    concurrent=True,
)
async def ping(context: Context, args: NoArguments) -> Outcome:
    return Outcome("succeeded", value={"agent": __version__, "boot": context.boot})
