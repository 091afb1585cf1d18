"""A command before it is sent: everything about it is checked here, so that nothing is written that no device could follow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from edgeagent import actions
from edgeagent.actions import Action, AnyArguments
from edgeagent.builtin.actions.plugin import PREFIX
from edgeagent.cel.expressions import WHAT as FILTER
from edgeagent.command import Entry, new_id
from edgeagent.errors import Refused, UsageProblem
from edgeagent.fleet.commandentry import Command
from edgeagent.fleet.commandtargets import Aim, Meant
from edgeagent.fleet.fields import nearest
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.states import Known, State, state_of
from edgeagent.times import duration, moment

__all__ = [
    "Order",
    "Wish",
    "action_of",
    "check_arguments",
    "check_clock",
    "check_count",
    "expiry_of",
    "has_manifest",
    "known_actions",
]

WHAT = "send the command"
#: How far this machine's clock may be from the hub's, as a part of the time until the expiry, and in seconds.
CLOCK_PART, CLOCK_BOUNDS_SECONDS = 0.1, (5.0, 300.0)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody wants done, but for where. expires_seconds: None for the action's own. splay_seconds: each device waits its part of it.

    most: refuse when more devices would be hit; None: any number. older_enrolments: also devices that enrol after this was signed.
    """

    action: str
    args: Mapping[str, Any] = field(default_factory=dict)
    expires_seconds: float | None = None
    splay_seconds: float = 0.0
    note: str = ""
    most: int | None = None
    older_enrolments: bool = False

    def entry(self, aim: Aim, key: str) -> Entry:
        """The body to sign with ``key``; its log and floor are filled in by whoever writes. Raises UsageProblem for what cannot be meant."""
        action = action_of(self.action)
        check_arguments(action, self.args)
        expires, now = expiry_of(action, self.expires_seconds), time.time()
        if not 0 <= self.splay_seconds <= expires:
            why = f"a splay of {duration(self.splay_seconds)} does not fit into the {duration(expires)} until it expires"
            raise UsageProblem(WHAT, why, "give it longer with --expires")
        try:
            return Entry(
                id=new_id(now, key),
                action=self.action,
                log="",
                floor=0,
                not_after=int(now + expires),
                args=dict(self.args),
                target=aim.target,
                splay_seconds=self.splay_seconds,
                older_enrolments=self.older_enrolments,
                note=self.note,
            )
        except ValueError as error:
            raise UsageProblem(WHAT, str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Order:
    """A command that is ready to be sent.

    meant: whom it would hit, by the reports of ``roster``. key: the signer's public key. again: what it repeats, None: nothing.
    """

    entry: Entry
    aim: Aim
    meant: Meant
    roster: Roster
    expires_seconds: float
    key: str
    again: Command | None = None

    def renewed(self) -> Order:
        """The same, made now: a person may have thought about it for long."""
        now = time.time()
        entry = msgspec.structs.replace(self.entry, id=new_id(now, self.key), not_after=int(now + self.expires_seconds))
        return replace(self, entry=entry)

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def until(self) -> datetime:
        """When it is not begun any more."""
        return moment(self.entry.not_after)

    @property
    def devices(self) -> list[Known]:
        """All that may be hit, by id: also those of which their reports do not tell."""
        return sorted([*self.meant.sure, *self.meant.unsure], key=lambda known: known.id)

    def states(self) -> dict[str, State]:
        """What each of ``devices`` is in."""
        return {known.id: state_of(known, self.roster.time) for known in self.devices}

    @property
    def online(self) -> int:
        """How many of ``devices`` are."""
        return sum(state is State.ONLINE for state in self.states().values())


def known_actions() -> list[Action]:
    """Every action that this machine knows of, by name: the built-in ones and those of installed packages."""
    from edgeagent.builtin import actions as builtin

    builtin.load_plugins()
    return actions.every()


def action_of(name: str) -> Action:
    """The declaration of an action. Raises UsageProblem when there is none."""
    known = {action.name for action in known_actions()}
    found = actions.find(name)
    if found is None:
        why, remedy = "there is no such action", nearest(name, known) or "`edgeagent cmd actions` lists them"
        raise UsageProblem(f"ask for {actions.printable(name)!r}", why, remedy)
    return found


def has_manifest(action: Action) -> bool:
    """Whether only the devices' own manifests say what it takes, how long it is good, and how long it may run."""
    return action.name.startswith(PREFIX) and action.arguments is AnyArguments


def expiry_of(action: Action, wanted: float | None) -> float:
    """How long a command for ``action`` is good, in seconds. Raises UsageProblem when that is longer than it may be."""
    if wanted is None:
        return action.default_expiry_seconds
    if not 1 <= wanted <= action.max_expiry_seconds:
        why = f"{action.name} may wait for {duration(action.max_expiry_seconds)} at most, and for a second at least"
        raise UsageProblem(f"let it expire after {duration(wanted)}", why, f"`edgeagent cmd actions {action.name}` shows it")
    return wanted


def check_clock(hub: datetime, expires_seconds: float) -> None:
    """Raise Refused when this machine's clock is so far from the hub's that devices would begin too late or not at all.

    Devices go by the signed time and by their own clocks; the hub's is only compared: a hub must not prolong what was signed.
    """
    least, most = CLOCK_BOUNDS_SECONDS
    behind = hub.timestamp() - time.time()
    if abs(behind) > min(most, max(least, expires_seconds * CLOCK_PART)):
        word = "behind" if behind > 0 else "ahead of"
        why = f"this machine's clock is {duration(abs(behind))} {word} the hub's"
        raise Refused(WHAT, why, "set the clock (`timedatectl`); expiry is told by it")


def check_arguments(action: Action, args: Mapping[str, Any]) -> None:
    """Raise UsageProblem that names everything wrong with them, as far as this machine knows what the action takes."""
    try:
        actions.arguments(action, args)
    except UsageProblem as problem:
        raise UsageProblem(problem.what, problem.why, f"`edgeagent cmd actions {action.name}` shows its arguments") from None


def check_count(devices: Sequence[Known], most: int | None, problem: str = "") -> None:
    """Raise UsageProblem when nobody would be hit, or more than ``most``. problem: why the filter holds for none, empty if it does."""
    if problem:
        raise UsageProblem(FILTER, problem, "a filter says of each device yes or no, such as `cpu.count > 2`")
    if not devices:
        raise UsageProblem(
            WHAT, "no device that the hub knows is meant", "`edgeagent fleet ls` with the same selection shows whom it means"
        )
    if most is not None and len(devices) > most:
        why = f"{len(devices)} devices would be hit, and no more than {most} may be"
        raise UsageProblem(WHAT, why, "select fewer, or let it be more (`--max`, in Python `most`)")
