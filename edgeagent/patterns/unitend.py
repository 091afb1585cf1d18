"""How a unit ended, by systemd and by its own word, becomes its action's outcome. Pure."""

from __future__ import annotations

import signal
from typing import NamedTuple

import msgspec

from edgeagent.actionlines import printable
from edgeagent.actions import Outcome
from edgeagent.command import is_final
from edgeagent.commandsettings import ActionLimits
from edgeagent.patterns.unitrequests import Told
from edgeagent.times import duration

__all__ = ["End", "end_of", "outcome_of"]

#: systemd's own exit codes, for what it could not set up (systemd.exec(5), "Process exit codes").
_NOT_STARTED = range(200, 246)


class End(NamedTuple):
    """$SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS of systemd.exec(5), each empty where it has none."""

    result: str = ""
    code: str = ""
    status: str = ""


def end_of(line: bytes) -> End:
    """What the unit's ExecStopPost wrote."""
    return End(*line.decode("ascii", "replace").split(maxsplit=3)[:3])


def outcome_of(end: End, told: bytes, action: str, limits: ActionLimits, *, stopped: bool = False) -> Outcome:
    """told: the outcome that the action left, empty: none. limits: what the action could take. stopped: we had it stopped."""
    own = _own(told)
    if own is not None and (own.state == "succeeded" or end.result not in ("oom-kill", "timeout")):
        return own
    if end.result == "oom-kill":
        most = f"; agent.toml gives it `memory_max = {limits.memory_max}`" if limits.memory_max else ""
        return Outcome("failed", f"the kernel ended it for want of memory{most}", 128 + signal.SIGKILL)
    if end.result == "timeout":
        longest = f"; agent.toml gives it {duration(limits.timeout_seconds)}" if limits.timeout_seconds else ""
        return Outcome("timed_out", f"{action} took too long and was ended{longest}")
    if stopped and (end.code, end.status) == ("killed", "TERM"):
        return Outcome("cancelled", "it was ended before it had begun")  # else it would have heard the signal
    return _without_a_word(end)


def _own(told: bytes) -> Outcome | None:
    try:
        found = msgspec.json.decode(told, type=Told).outcome() if told else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Outcome("failed", f"how it ended can't be read: {printable(str(error))}")
    return found if found is None or is_final(found.state) else Outcome("failed", "it did not say how it ended")


def _without_a_word(end: End) -> Outcome:
    if end.code in ("killed", "dumped"):
        number = getattr(signal, f"SIG{end.status}", None)
        return Outcome("failed", f"it was ended by SIG{printable(end.status)}", 128 + number if number else None)
    status = int(end.status) if end.status.isascii() and end.status.isdigit() else None
    if end.code == "exited" and status in _NOT_STARTED:
        return Outcome("failed", f"systemd could not start its unit (exit code {status}): its journal says why")
    return Outcome(
        "failed", f"it ended without saying how ({' '.join(end) or 'nothing is known'}): its unit's journal may", status
    )
