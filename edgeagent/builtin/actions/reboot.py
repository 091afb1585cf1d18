"""``reboot``: succeeded when the machine came up again. At most three an hour, counted across reboots: no fleet reboots for ever."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.actions import HOUR, Context, NoArguments, Outcome, action
from edgeagent.builtin.actions._power import TIMEOUT_SECONDS, ask, goes_down, is_up_again, unit_of
from edgeagent.errors import EdgeError

__all__ = ["FILE", "recent"]

FILE, MAX_PER_HOUR = "reboots.json", 3


@action(
    "reboot",
    description="Reboot the machine.",
    timeout_seconds=TIMEOUT_SECONDS,
    dangerous=True,
    supersedes=True,
    recover=is_up_again,
    unit=unit_of("reboot"),
)
async def reboot(context: Context, args: NoArguments) -> Outcome:
    path = context.settings.state_folder / FILE
    now = time.time()
    before = recent(path, now)
    if len(before) >= MAX_PER_HOUR:
        left = int(min(before) + HOUR - now)
        return Outcome("refused", f"it was rebooted {len(before)} times within an hour; the next is allowed in {left} s")
    try:
        _note(path, [*before, now])  # before it is asked: there may be no later
    except EdgeError as error:
        return Outcome("failed", str(error))
    outcome = await ask(context, "reboot", "reboot")
    if outcome.state == "succeeded":
        return await goes_down(context, "reboot")
    _note(path, before)
    return outcome


def recent(path: Path, now: float) -> list[float]:
    """When it was rebooted within the hour, Unix seconds. A file that power cuts or people damaged counts as none; a time that lies as
    far ahead is of a clock that was wrong."""
    try:
        times = msgspec.json.decode(files.read_if_there(path) or b"[]", type=list[float])
    except (EdgeError, msgspec.DecodeError, UnicodeDecodeError):
        return []
    return [each for each in times if abs(now - each) < HOUR]


def _note(path: Path, times: list[float]) -> None:
    files.write_atomic(path, msgspec.json.encode(times) + b"\n", 0o600)
