"""``edgeagent mcu send``: have a microcontroller do something, here or across the fleet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from edgeagent import settings
from edgeagent.cli import cmd_send, mcu_names, running, textfile
from edgeagent.cli.cmd_options import DryRun, Everybody, Expires, How, Max, Note, Splay, Wait, WaitSeconds, Yes
from edgeagent.cli.harmless import json_text
from edgeagent.cli.mcu_names import Action as ActionName
from edgeagent.cli.mcu_names import Name, Target
from edgeagent.cli.options import ContextName, Devices, Groups, Labels, SettingsFile, Where
from edgeagent.cli.table import plain
from edgeagent.errors import UsageProblem
from edgeagent.mcumessages import UPDATES

if TYPE_CHECKING:
    from edgeagent.actions import Action

__all__ = ["add_to", "having"]

#: How long one on this device may take, unless told otherwise, in seconds.
SECONDS = 10.0


class _Given(NamedTuple):
    """Arguments as they were said: in words, and in a file."""

    words: list[str]
    in_file: dict[str, Any]

    def of(self, action: Action) -> dict[str, Any]:
        """Raises UsageProblem for what is none, or is said twice."""
        from edgeagent.fleet.commandtext import arguments_of

        found = arguments_of(action, self.words)
        if twice := sorted(found.keys() & self.in_file.keys()):
            raise UsageProblem(f"ask for {action.name}", f"{twice[0]!r} is in the file, and in words too", "say it once")
        return {**self.in_file, **found}


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(send)


def send(
    target: Name,
    action: ActionName,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="What it is told besides: numbers, true and false, texts, [lists]."),
    ] = None,
    args_file: Annotated[
        str,
        typer.Option(
            "--args-file",
            help="More of that in a file of JSON or TOML; - reads standard input. So no list of processes has it.",
            metavar="FILE",
        ),
    ] = "",
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    expires: Expires = None,
    splay: Splay = None,
    most: Max = None,
    yes: Yes = False,
    dry: DryRun = False,
    note: Note = "",
    wait: Wait = None,
    timeout: WaitSeconds = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    context: ContextName = None,
    settings_file: SettingsFile = None,
) -> None:
    """Have a microcontroller do ACTION, and show what it answers.

    ID is one on this device: it is told at once, by root or the agent's user. DEVICE/ID is one of the fleet, and ID with -g, -l, --where
    or --all is on whichever of these devices have one of that id: that is the signed command mcu.ID.ACTION, which `commands.allow` in
    the device's agent.toml has to list.

    Example: edgeagent mcu send pi-01/oven led on=1

    \b
    sudo edgeagent mcu send oven settings --args-file oven.json
    pass show lab/wifi.json | sudo edgeagent mcu send oven settings --args-file -
    """
    given = _Given(words or [], textfile.arguments(args_file) if args_file else {})
    wanted = mcu_names.named(target)
    how = How(
        devices=[*([wanted.device] if wanted.device else []), *(devices or [])],
        groups=groups,
        labels=labels,
        where=where,
        everybody=everybody,
        expires=expires,
        splay=splay,
        most=most,
        yes=yes,
        dry=dry,
        note=note,
        wait=wait,
        timeout=timeout,
        as_json=as_json,
        context=context,
    )
    if how.devices or groups or labels or where or everybody:
        _from_afar(wanted.id, action, given, having(wanted.id, how))
        return
    if context or expires or splay or most or dry or note or wait is False:
        remedy = "name it as DEVICE/ID, or devices with -d, -g, -l or --where"
        raise UsageProblem(f"tell {wanted.id}", "these options are for one of the fleet, and no device is named", remedy)
    _here(settings.load(settings_file), wanted, action, given, timeout or SECONDS, as_json=as_json)


def having(mcu_id: str, how: How) -> How:
    """The same for those of the devices that have such a microcontroller, unless they are named: the others are not meant."""
    if how.devices:
        return how
    if how.everybody and (how.groups or how.labels or how.where):
        raise UsageProblem("select devices", "--all is every device, and some are named too", "leave out one of both")
    has = f'mcus.exists(m, m.id == "{mcu_id}")'
    # On a line of its own: the filter may end in a comment, which must not swallow the bracket.
    return replace(how, everybody=False, where=f"({how.where}\n) && {has}" if how.where.strip() else has)


def _from_afar(mcu_id: str, action: str, given: _Given, how: How) -> None:
    from edgeagent.actions import find
    from edgeagent.builtin.actions import mcu

    name = f"{mcu.PREFIX}{mcu_id}.{action}"
    found = find(name)
    if action.startswith(UPDATES):
        remedy = f"use `edgeagent firmware update DEVICE/{mcu_id}`"
        raise UsageProblem(f"have {mcu_id} do {action}", "that is a part of an update, which is one command from afar", remedy)
    if found is None:
        raise UsageProblem(
            f"have {mcu_id} do {action!r}",
            "only what is written with a-z, 0-9, '_' and '-' can be commanded from afar",
            "call it otherwise in its firmware, or send it on the device",
        )
    cmd_send.send(name, given.of(found), how)


def _here(wanted: settings.Settings, target: Target, action: str, given: _Given, seconds: float, *, as_json: bool) -> None:
    from edgeagent.assembly.mcuclient import send as tell
    from edgeagent.builtin.actions import mcu

    args = given.of(mcu.action_of(target.id, action))
    value = running.run(tell(wanted, target.id, action, args, seconds=seconds))
    if as_json:
        print(json_text({"mcu": target.id, "action": action, "value": value}, indent=2))
    else:
        print(f"{target.id}: {_answer(value)}")


def _answer(value: Any) -> str:
    return "done" if value is None else plain(value) if not isinstance(value, (dict, list)) else json_text(value)
