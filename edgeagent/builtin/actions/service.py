"""``service.start``, ``stop``, ``restart`` and ``status``: systemd's units that agent.toml lists."""

from __future__ import annotations

from edgeagent.actions import Action, Arguments, Context, Outcome, Transient, register
from edgeagent.actionunits import CLOSED
from edgeagent.builtin.actions._outcome import MAX_ANSWER_BYTES, carried_out, ended_as
from edgeagent.builtin.actions._units import Unit, full, is_listed
from edgeagent.errors import EdgeError
from edgeagent.patterns.programs import Program
from edgeagent.patterns.runner import run
from edgeagent.settings import Settings

__all__: list[str] = []

#: systemd gives a unit 90 s to start or stop (DefaultTimeoutStartSec); what takes longer says so in its unit.
TIMEOUT_SECONDS = 300.0
#: What is shown of a unit (org.freedesktop.systemd1(5)), and what we call it.
_SHOWN = {
    "ActiveState": "active",
    "SubState": "sub",
    "Result": "result",
    "StateChangeTimestamp": "since",
    "MainPID": "pid",
    "NRestarts": "restarts",
    "UnitFileState": "enabled",
}

_UNIT = Transient(user="root", properties=CLOSED)


class Service(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    unit: Unit


def _refuse(settings: Settings, args: Service) -> str:
    return "" if is_listed(args.unit, settings.service.allow) else f"`{args.unit}` in `service.allow`"


def _refuse_status(settings: Settings, args: Service) -> str:
    listed = [*settings.service.allow, *settings.service.status]
    return "" if is_listed(args.unit, listed) else f"`{args.unit}` in `service.status`"


def _systemctl(context: Context, *words: str, answer_bytes: int | None = None) -> Program:
    """Words after ``--`` are no options, whatever they look like."""
    path = context.settings.service.systemctl
    argv = (path, "--no-pager", "--no-ask-password", *words)
    return Program(argv=argv, file=context.machine.path(path), timeout_seconds=TIMEOUT_SECONDS, answer_bytes=answer_bytes)


def _add(verb: str, description: str, *, idempotent: bool) -> None:
    async def change(context: Context, args: Service) -> Outcome:
        return await carried_out(context, _systemctl(context, verb, "--", full(args.unit)))

    register(
        Action(
            name=f"service.{verb}",
            run=change,
            arguments=Service,
            description=description,
            timeout_seconds=TIMEOUT_SECONDS + 10,
            idempotent=idempotent,
            supersedes=verb == "restart",
            refuse=_refuse,
            unit=_UNIT,
        )
    )


async def _status(context: Context, args: Service) -> Outcome:
    words = ("show", f"--property=Id,LoadState,{','.join(_SHOWN)}", "--", full(args.unit))
    program = _systemctl(context, *words, answer_bytes=MAX_ANSWER_BYTES)
    try:
        ended = await run(program, context.write, context.cancelled)
    except EdgeError as error:
        return Outcome("failed", str(error))
    outcome = ended_as(ended, program)
    return _told(context, args, ended.answer.decode("utf-8", "replace")) if outcome.state == "succeeded" else outcome


def _told(context: Context, args: Service, answer: str) -> Outcome:
    """systemctl succeeds for units that there are not: it says so in what it shows."""
    values = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    if values.get("LoadState") in (None, "not-found"):
        return Outcome("failed", f"there is no unit {full(args.unit)}", 0)
    shown = {ours: values.get(theirs, "") for theirs, ours in _SHOWN.items()}
    since = f" since {shown['since']}" if shown["since"] else ""
    context.write(f"{full(args.unit)}: {shown['active']} ({shown['sub']}){since}\n".encode())
    return Outcome("succeeded", exit_code=0, value={"unit": values.get("Id", full(args.unit)), **shown})


_add("start", "Start a unit of systemd.", idempotent=True)
_add("stop", "Stop a unit of systemd.", idempotent=True)
_add("restart", "Restart a unit of systemd, or start it.", idempotent=False)
register(
    Action(
        name="service.status",
        run=_status,
        arguments=Service,
        description="Whether and since when a unit of systemd runs.",
        timeout_seconds=TIMEOUT_SECONDS + 10,
        idempotent=True,
        concurrent=True,
        refuse=_refuse_status,
        unit=_UNIT,
    )
)
