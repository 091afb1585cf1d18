"""How a program's end, or its answer, becomes an action's outcome."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edgeagent import wire
from edgeagent.actions import Context, Outcome, printable
from edgeagent.errors import EdgeError
from edgeagent.patterns.programs import Program
from edgeagent.patterns.runner import Ended, run

__all__ = ["MAX_ANSWER_BYTES", "answered", "carried_out", "ended_as", "question"]

#: How large an answer may be that travels in a result, and how deep.
MAX_ANSWER_BYTES, MAX_DEPTH = 64 << 10, 16


class _Question(msgspec.Struct, kw_only=True):
    id: str
    device: str
    action: str
    args: dict[str, Any]
    v: int = wire.VERSION


class _Answer(msgspec.Struct):
    state: Literal["succeeded", "failed", "refused"] = "succeeded"
    reason: str = ""
    value: Any = None


async def carried_out(context: Context, program: Program) -> Outcome:
    """Run the program; how that ended."""
    try:
        return ended_as(await run(program, context.write, context.cancelled), program)
    except EdgeError as error:
        return Outcome("failed", str(error))


def ended_as(ended: Ended, program: Program) -> Outcome:
    """succeeded: it ended by itself with exit code 0."""
    name = program.path.name
    if ended.how == "cancelled":
        return Outcome("cancelled", f"{name} was ended", ended.exit_code)
    if ended.how == "timed_out":
        return Outcome("timed_out", f"{name} took longer than {program.timeout_seconds:g} s and was ended", ended.exit_code)
    if ended.exit_code == 0:
        return Outcome("succeeded", exit_code=0)
    how = f"was ended by {ended.signal}" if ended.signal else f"ended with exit code {ended.exit_code}"
    lines = ended.output.text.strip().splitlines()
    return Outcome("failed", f"{name} {how}{f': {printable(lines[-1].strip())}' if lines else ''}", ended.exit_code)


def question(context: Context, action: str, args: dict[str, Any]) -> bytes:
    """What a program of the user's is asked, as JSON."""
    return msgspec.json.encode(_Question(id=context.id, device=context.device_id, action=action, args=args))


def answered(who: str, body: bytes, exit_code: int | None = None) -> Outcome:
    """The outcome that a program of the user's told: ``{"state": ..., "reason": ..., "value": ...}``. Nothing: it succeeded.

    exit_code: with which it ended; with another one than 0 it failed, whatever it says.
    """
    try:
        answer = _read(body)
    except ValueError as error:  # all of msgspec's, and ours
        return Outcome("failed", f"the answer of {who} can't be used: {printable(str(error))}", exit_code)
    state = "failed" if exit_code and answer.state == "succeeded" else answer.state
    reason = printable(answer.reason, 500)
    return Outcome(state, reason if reason or state == "succeeded" else f"{who} says no more", exit_code, answer.value)


def _read(body: bytes) -> _Answer:
    if len(body) > MAX_ANSWER_BYTES:
        raise ValueError(f"it is larger than {MAX_ANSWER_BYTES} bytes")
    if not body.strip():
        return _Answer()
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    wire.check_depth({"value": answer.value}, "its values", MAX_DEPTH)
    return answer
