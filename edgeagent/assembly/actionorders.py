"""What the helper lets a unit be started for: judged by root's agent.toml alone, whatever the agent that asks has become.

Nothing here starts anything, and nothing of the agent's own folders is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgeagent import actions, places, subjects
from edgeagent.actions import Action
from edgeagent.actionunits import Transient, limits_of, user_of
from edgeagent.builtin.actions import load_plugins
from edgeagent.builtin.actions.plugin import PREFIX, load_folder
from edgeagent.commandsettings import ActionLimits
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.files import failure
from edgeagent.machine import Machine
from edgeagent.patterns.unitrequests import Order, Request, is_id
from edgeagent.schema import SECTIONS
from edgeagent.settings import Settings, parse

__all__ = ["Judged", "found", "judged", "order_of", "properties", "settings_in", "settings_of", "trusted_settings"]

#: The sections that actions read which run as units. Others may hold what their user has no business with.
SENT = ("commands", "exec", "service", "logs", "file")
#: How much longer a unit may take than its action, in seconds, so that the action ends by itself and says more; and how long it has to
#: end once it was told to: a program gets SIGTERM, and SIGKILL 5 s later.
MARGIN_SECONDS, STOP_SECONDS = 30, 15


class Judged(NamedTuple):
    """What is to be done: nothing speaks against it. user: who does it."""

    action: Action
    unit: Transient
    args: msgspec.Struct
    user: str
    limits: ActionLimits
    settings: Settings


def trusted_settings(path: Path = places.SYSTEM_SETTINGS) -> Settings:
    """agent.toml, which only root can have written; all defaults where there is none. Raises Refused, SettingsProblem, EdgeError."""
    what = f"trust {path}"
    try:
        _check_roots(what, path.parent, os.lstat(path.parent))
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Settings(source=path)
    except EdgeError:
        raise
    except OSError as error:
        raise failure(what, error) from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(what, "it is no plain file")
        _check_roots(what, path, status)
        try:
            return parse(file.read().decode(), path)
        except UnicodeDecodeError:
            raise Failed(what, "it is not UTF-8 text") from None


def _check_roots(what: str, path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise Refused(what, f"{path} is a link", "put the file itself there")
    if found.st_uid != 0 or found.st_mode & 0o022:
        raise Refused(what, f"others than root may change {path}", f"`sudo chown root: {path}` and `sudo chmod go-w {path}`")


def found(name: str, machine: Machine) -> Action | None:
    """The action of that name, with no more loaded than it takes."""
    if name.startswith(PREFIX):
        load_folder(machine)
    elif actions.find(name) is None:
        load_plugins()
    return actions.find(name)


def judged(settings: Settings, request: Request, find: Callable[[str], Action | None]) -> Judged:
    """Raises Refused, UsageProblem."""
    what = f"run {actions.printable(request.action)}"
    if not is_id(request.id):
        raise Refused(what, f"{actions.printable(request.id)!r} is no id of a command")
    if request.device and not subjects.is_id(request.device):  # programs of the owner's, root's too, are told it
        raise Refused(what, f"{actions.printable(request.device)!r} is no id of a device")
    action = find(request.action)
    if action is None or action.unit is None:
        raise Refused(what, "it is no action that runs as a unit")
    user = user_of(settings, action.name, action.unit)
    # As whoever runs it would judge: root, which we are, asks for more.
    own = msgspec.structs.replace(settings, exec=msgspec.structs.replace(settings.exec, user=user))
    if why := actions.not_allowed(own, action.name, request.args):
        raise Refused(what, why)
    args = actions.arguments(action, request.args)
    return Judged(action, action.unit, args, user, limits_of(settings, action.name), own)


def properties(judged: Judged) -> list[str]:
    """``Name=value`` for systemd-run: who runs it, with what, for how long."""
    limits, unit = judged.limits, judged.unit
    seconds = limits.timeout_seconds or judged.action.timeout_seconds + MARGIN_SECONDS
    found = [
        f"User={judged.user}",
        f"RuntimeMaxSec={seconds:.15g}",
        f"TimeoutStopSec={STOP_SECONDS}",
        "KillMode=mixed",
        "UMask=0022",
        "WorkingDirectory=/",
        *unit.properties,
        *unit.more(judged.settings, judged.args),
    ]
    found += [f"MemoryMax={limits.memory_max}"] if limits.memory_max else []
    found += [f"CPUQuota={limits.cpu_quota}"] if limits.cpu_quota else []
    found += [f"TasksMax={limits.tasks_max}"] if limits.tasks_max else []
    return found


def order_of(judged: Judged, request: Request, *, content: bool) -> Order:
    """What the unit is told."""
    args: dict[str, Any] = msgspec.to_builtins(judged.args)
    if isinstance(judged.args, actions.AnyArguments):
        args = dict(request.args)
    return Order(request.id, judged.action.name, args, request.device, settings_of(judged.settings), content)


def settings_of(settings: Settings) -> dict[str, Any]:
    """What of the settings a unit is given."""
    return {name: msgspec.to_builtins(getattr(settings, name)) for name in SENT}


def settings_in(sent: dict[str, Any]) -> Settings:
    """The settings that :func:`settings_of` made this of."""
    sections: dict[str, Any] = {name: msgspec.convert(sent[name], SECTIONS[name]) for name in SENT}
    return Settings(**sections, source=places.SYSTEM_SETTINGS)
