"""``plugin.<name>``: programs in any language that the device's owner puts into a folder, each with a manifest beside it.

A program gets the command as JSON on standard input and answers in JSON on standard output; what it writes to standard error is shown
while it runs. Only root, or the user of the agent, may be able to change what is there.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import msgspec

from edgeagent import actions, files
from edgeagent.actions import Action, AnyArguments, Context, Outcome, Transient, family
from edgeagent.builtin.actions._manifest import Manifest, arguments_of, read
from edgeagent.builtin.actions._outcome import MAX_ANSWER_BYTES, answered, ended_as, question
from edgeagent.errors import EdgeError
from edgeagent.machine import Machine
from edgeagent.patterns.programs import Program, check_file
from edgeagent.patterns.runner import run

__all__ = ["FOLDER", "PREFIX", "load_folder"]

log = logging.getLogger(__name__)

FOLDER, PREFIX = "/etc/edgeagent/actions.d", "plugin."
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")


def load_folder(machine: Machine) -> dict[str, str]:
    """Register the plugins in the machine's folder; return ``{name: why it can't be used}`` of those that failed.

    One that fails costs itself and one line in the log. The agent does it when it starts.
    """
    failures: dict[str, str] = {}
    for manifest in sorted(machine.path(FOLDER).glob("*.toml")):
        try:
            actions.register(_action(manifest))
        except (EdgeError, ValueError) as error:
            failures[manifest.stem] = str(error)
            log.warning("left out the plugin %s: %s", manifest.stem, error)
    return failures


def _action(path: Path) -> Action:
    if not _NAME.match(path.stem):
        raise ValueError("its name must be 1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter")
    program = path.with_suffix("")
    _check(program)
    _check(path, runs=False)  # it says what the program is given, and who runs it
    manifest = read(files.read_text(path))

    async def start(context: Context, args: msgspec.Struct) -> Outcome:
        return await _run(context, program, manifest, args)

    shared = {
        name: getattr(manifest, name)
        for name in Manifest.__struct_fields__
        if name not in ("arguments", "user", "timeout_seconds")
    }
    seconds = manifest.timeout_seconds + 10  # ours goes first, and says more
    unit = Transient(named=lambda settings: manifest.user)
    return Action(
        name=f"{PREFIX}{path.stem}", run=start, arguments=arguments_of(manifest), timeout_seconds=seconds, unit=unit, **shared
    )


def _check(file: Path, *, runs: bool = True) -> None:
    check_file(file, {0, os.geteuid()}, runs=runs)


async def _run(context: Context, program: Path, manifest: Manifest, args: msgspec.Struct) -> Outcome:
    body = question(context, f"{PREFIX}{program.name}", msgspec.to_builtins(args))
    started = Program(
        argv=(str(program),),
        user=manifest.user,
        stdin=body,
        environment={"EDGEAGENT_COMMAND": context.id, "EDGEAGENT_DEVICE": context.device_id},
        timeout_seconds=manifest.timeout_seconds,
        answer_bytes=MAX_ANSWER_BYTES + 1,
    )
    try:
        _check(program)  # it may have been changed since
        ended = await run(started, context.write, context.cancelled)
    except EdgeError as error:
        return Outcome("failed", str(error))
    outcome = ended_as(ended, started)
    if ended.how != "ended" or ended.signal or (ended.exit_code and not ended.answer.strip()):
        return outcome
    told = answered(program.name, ended.answer, ended.exit_code)
    return told if told.state == "succeeded" or told.reason else outcome


async def _is_not_there(context: Context, args: AnyArguments) -> Outcome:
    return Outcome(
        "refused", f"there is no such plugin in {FOLDER} on this device, or it could not be used when the agent started"
    )


def _make(name: str) -> Action | None:
    """A plugin that is not known here: an operator can't know what is on the device, so it counts as dangerous."""
    if not _NAME.match(name.removeprefix(PREFIX)):
        return None
    description = f"Run the plugin {name.removeprefix(PREFIX)} of the device."
    return Action(name=name, run=_is_not_there, arguments=AnyArguments, description=description, dangerous=True)


family(PREFIX, _make)
