"""``shutdown``: switch the machine off. Somebody has to go there to switch it on again, so agent.toml has to allow it."""

from __future__ import annotations

from edgeagent.actions import Context, NoArguments, Outcome, action
from edgeagent.builtin.actions._power import TIMEOUT_SECONDS, ask, goes_down, is_up_again, unit_of

__all__: list[str] = []


@action(
    "shutdown",
    description="Switch the machine off; nobody can switch it on again from afar.",
    timeout_seconds=TIMEOUT_SECONDS,
    dangerous=True,
    recover=is_up_again,
    unit=unit_of("poweroff"),
)
async def shutdown(context: Context, args: NoArguments) -> Outcome:
    outcome = await ask(context, "shutdown", "poweroff")
    return await goes_down(context, "shut down") if outcome.state == "succeeded" else outcome
