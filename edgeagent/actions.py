"""The one door through which actions enter: built-ins and strangers' plugins alike. What a command may ask a device to do.

An action is an async function ``run(context, args) -> Outcome`` with its declaration beside it. The device runs it; the operator's
side reads the same declaration, so that a command with impossible arguments is never written. Who wants the built-in actions
imports :mod:`edgeagent.builtin.actions`, on a device and on an operator's laptop alike.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

import msgspec

from edgeagent import commandlock
from edgeagent.actionlines import described, printable
from edgeagent.actionunits import Transient, Units
from edgeagent.command import CANCEL, State
from edgeagent.errors import Unreachable, UsageProblem
from edgeagent.machine import Machine
from edgeagent.sections import check
from edgeagent.settings import Settings

__all__ = [
    "Action",
    "AnyArguments",
    "Arguments",
    "Context",
    "Microcontrollers",
    "NoArguments",
    "Outcome",
    "Transient",
    "Units",
    "action",
    "arguments",
    "described",
    "every",
    "family",
    "find",
    "is_allowed",
    "not_allowed",
    "printable",
    "refusal",
    "register",
]

#: Dotted words: what a glob of ``commands.allow`` is matched against and people type.
_NAME = re.compile(r"(?=.{1,128}\Z)[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*\Z")
NAME_RULE = "up to 128 of a-z, 0-9, '_' and '-', in words with dots between them"


HOUR, DAY = 3600, 86400


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of an action's arguments."""


class NoArguments(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of an action that takes none."""


class AnyArguments(msgspec.Struct, frozen=True):
    """Arguments that somebody else checks: a program on the device. values: as they came."""

    values: dict[str, Any] = {}


@dataclass(frozen=True)
class Outcome:
    """How an action ended. state: a final one. reason: why it did not succeed, one sentence without a full stop. exit_code: of the
    program that it ran, 128 and the signal's number for a signal; None: it ran none. value: what it answered, JSON."""

    state: State
    reason: str = ""
    exit_code: int | None = None
    value: Any = None


async def _nobody(subject: str, body: bytes, seconds: float) -> bytes:
    raise Unreachable(f"ask {subject}", "the agent has no leaf")


async def _read_nothing(stream: str, subject: str, seconds: float) -> bytes | None:
    raise Unreachable(f"read {subject}", "the agent has no leaf")


async def _store_nothing(what: str, data: bytes, headers: Mapping[str, str], seconds: float) -> int:
    raise Unreachable(f"store {what}", "the agent has no leaf")


class Microcontrollers(Protocol):
    """Those of the device (:class:`edgeagent.patterns.mcus.Mcus`)."""

    def lines(self, mcu_id: str) -> Sequence[tuple[float, str]]:
        """The newest lines of its log, each with its Unix time in seconds. Raises Refused when there is no such one."""

    async def command(
        self, mcu_id: str, action: str, args: Mapping[str, Any], *, command_id: str = "", seconds: float = 10.0
    ) -> Any:
        """What it answers. Raises Refused, Failed or Unreachable."""

    async def add(self, mcu_id: str, *, usb: str, port: str, baud: int, lines: str, pattern: str) -> None:
        """What is at that USB device or port is the device's from now on, under this id. Raises UsageProblem or Refused."""

    async def remove(self, mcu_id: str) -> None:
        """It is not any more. Raises UsageProblem when it was not."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an action is given.

    boot: id of this boot, empty if the kernel gives none. write: takes output, which is shown while the action runs; its end is kept.
    cancelled: set when the action shall end; it then returns soon, with the state ``cancelled`` (a run time that is over is told the
    same way). ask: request on the leaf: (subject, body, seconds) -> the answer. read: of the hub: (stream, subject, seconds) -> what was
    stored last, None when there is nothing. store: at the hub, as this device: (what stands after ``edge.from.<id>.``, data, headers,
    seconds) -> the sequence. All three raise EdgeError, Unreachable while the link is away. id: the command's. mcus: None where there are none.
    signed: the command's envelope, for an action that declares that it wants it. profile: what ``agent.profile`` is now.
    units: where what touches the machine runs outside the agent; None: here. content: in such a unit, what the agent handed over, open.
    """

    device_id: str
    settings: Settings
    machine: Machine
    boot: str
    write: Callable[[bytes], None]
    cancelled: asyncio.Event
    ask: Callable[[str, bytes, float], Awaitable[bytes]] = _nobody
    read: Callable[[str, str, float], Awaitable[bytes | None]] = _read_nothing
    store: Callable[[str, bytes, Mapping[str, str], float], Awaitable[int]] = _store_nothing
    id: str = ""
    mcus: Microcontrollers | None = None
    signed: bytes = b""
    profile: str = "normal"
    units: Units | None = None
    content: int | None = None


Run = Callable[[Context, Any], Awaitable[Outcome]]
Recover = Callable[[Context, Any, str], "Outcome | None"]
Refuse = Callable[[Settings, Any], str]


def _unknown(context: Context, args: Any, before_boot: str) -> None:
    return None


def _welcome(settings: Settings, args: Any) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Action:
    """One action, declared.

    description: one or two sentences for ``cmd actions``. default_expiry_seconds, max_expiry_seconds: how long after it was issued it may
    begin. timeout_seconds: the longest that it may run. idempotent: to run twice does no harm, so it runs again after a crash.
    concurrent: it does not wait for others. dangerous: for more than one device it asks first. supersedes: of queued ones with equal
    arguments only the newest runs. signed: it is given what was signed, for somebody else on the device who checks it again.
    recover: what became of it when the agent ended while it ran; before_boot: the boot id then; None: can't be known.
    refuse: what agent.toml would have to say for it, empty when it says so. unit: how it runs outside the agent; None: it does not.
    """

    name: str
    description: str
    run: Run
    arguments: type[msgspec.Struct] = NoArguments
    default_expiry_seconds: float = HOUR
    max_expiry_seconds: float = 7 * DAY
    timeout_seconds: float = 60.0
    idempotent: bool = False
    concurrent: bool = False
    dangerous: bool = False
    supersedes: bool = False
    signed: bool = False
    recover: Recover = _unknown
    refuse: Refuse = _welcome
    unit: Transient | None = None

    @property
    def is_unit(self) -> bool:
        """Whether all of it runs as a unit, where units are to be had."""
        return self.unit is not None and self.unit.is_whole

    def begin(self, context: Context, args: Any) -> Awaitable[Outcome]:
        """Run it, here or as a unit."""
        if context.units is not None and self.is_unit:
            return context.units.run(context, self.name, msgspec.to_builtins(args))
        return self.run(context, args)


_actions: dict[str, Action] = {}
_families: dict[str, Callable[[str], Action | None]] = {}


def register(new: Action) -> None:
    """Add an action. Raises ValueError if it is declared in a way that nobody could use, or another module's has its name."""
    if not _NAME.match(new.name) or new.name == CANCEL:
        raise ValueError(f"{new.name!r} is no name of an action: {NAME_RULE}")
    if not new.description.strip():
        raise ValueError(f"the action {new.name} has no description")
    if not 0 < new.default_expiry_seconds <= new.max_expiry_seconds or new.timeout_seconds <= 0:
        raise ValueError(f"the action {new.name} has an impossible expiry or timeout")
    if new.name in _actions and _actions[new.name].run.__module__ != new.run.__module__:
        raise ValueError(f"two actions are called {new.name!r}")
    _actions[new.name] = new


def action(name: str, **declared: Any) -> Callable[[Run], Run]:
    """Register the decorated function as the action ``name``. declared: the fields of :class:`Action`; as :func:`register` otherwise."""

    def add(run: Run) -> Run:
        register(Action(name=name, run=run, **declared))
        return run

    return add


def family(prefix: str, make: Callable[[str], Action | None]) -> None:
    """Have every name that begins with ``prefix`` and is not registered itself made by ``make``: what only the device knows."""
    _families[prefix] = make


def find(name: str) -> Action | None:
    """The action of that name, None when there is none."""
    if name in _actions or not _NAME.match(name):
        return _actions.get(name)
    return next((make(name) for prefix, make in _families.items() if name.startswith(prefix)), None)


def every() -> list[Action]:
    """Every registered action, by name."""
    return [_actions[name] for name in sorted(_actions)]


def arguments(action: Action, args: Mapping[str, Any]) -> msgspec.Struct:
    """The arguments of a command, checked and typed. Raises UsageProblem that names everything wrong with them."""
    if action.arguments is AnyArguments:
        return AnyArguments(dict(args))
    fields = _fields(action.arguments)
    problems = [f"it takes no {printable(name)!r}{_takes(fields)}" for name in args if name not in fields]
    problems += [f"it needs {name!r}" for name, field in fields.items() if field.required and name not in args]
    problems += [problem for name in fields if name in args for problem in check(name, args[name], fields[name].type)]
    if not problems:
        try:
            return msgspec.convert(dict(args), action.arguments)
        except msgspec.ValidationError as error:  # a rule of the whole
            problems.append(str(error).replace("`", ""))
    raise UsageProblem(f"ask for {action.name}", "; ".join(printable(problem, 500) for problem in problems))


@functools.cache
def _fields(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field for field in msgspec.structs.fields(arguments)}


def _takes(fields: Mapping[str, Any]) -> str:
    return f", only {', '.join(fields)}" if fields else ", and nothing else"


def refusal(settings: Settings, name: str, args: Mapping[str, Any] | msgspec.Struct) -> str:
    """Why this device does not do it: one sentence that says which setting would allow it. Empty: it does.

    args: as they came, or as :func:`arguments` gave them. It looks at the lock's file, so it is also asked right before a command runs.
    """
    locked = commandlock.read(settings.state_folder)
    if locked is not None:
        return f"{printable(str(locked))} (`sudo edgeagent unlock` on the device ends it)"
    return not_allowed(settings, name, args)


def not_allowed(settings: Settings, name: str, args: Mapping[str, Any] | msgspec.Struct) -> str:
    """Like :func:`refusal`, but for the lock: by the settings alone."""
    found = find(name)
    if found is None:
        return f"there is no action {printable(name)!r} on this device"
    try:
        typed = args if isinstance(args, msgspec.Struct) else arguments(found, args)
    except UsageProblem as problem:
        return problem.why
    wanted = [] if is_allowed(settings, name) else [f"`{name}` in `commands.allow`"]
    wanted += [also] if (also := found.refuse(settings, typed)) else []
    return f"not allowed here: agent.toml would need {' and '.join(wanted)}" if wanted else ""


def is_allowed(settings: Settings, name: str) -> bool:
    """Whether there is such an action, and agent.toml allows it by its name."""
    return find(name) is not None and any(fnmatchcase(name, pattern) for pattern in settings.commands.allow)
