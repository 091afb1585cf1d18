"""Entries of the command logs as the hub keeps them, and the commands that they make. Pure.

Whoever can write to the hub's store can put anything there. So each entry is judged as devices judge it, by the role keys that came with
the login (:mod:`edgeagent.fleet.rolekeys`), and what they would not follow may be shown, and never be acted on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from edgeagent.command import CANCEL, Entry, Target, entry_of, is_made_by
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError
from edgeagent.fleet.rolekeys import judged
from edgeagent.journalrows import permitted
from edgeagent.patterns.commandjudge import is_id
from edgeagent.subjects import Scope
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import Signed, peek

__all__ = ["Command", "LogEntry", "log_entry", "made", "place_of"]

#: No log gets this long; whoever writes such a number wants that nobody can write the next one.
MAX_NUMBER = 10**12
#: The largest time (Unix seconds), splay and name of an action that a device follows.
MAX_MOMENT, MAX_SPLAY_SECONDS, MAX_NAME = 1 << 53, 86_400.0, 100


class LogEntry(NamedTuple):
    """One message of EDGE_COMMANDS. time: when the hub stored it. by: who signed it, as the signature proves; empty if it proves nothing.

    entry: None when it is none. problem: why devices do not follow it; empty if they do, or that cannot be told. actions: what its signer
    is limited to; none: not limited. whole: it is an entry for this place, signed by whoever it says. revoked: whose login was revoked.
    """

    scope: Scope
    number: int
    time: datetime
    entry: Entry | None = None
    at: int = 0
    by: str = ""
    problem: str = ""
    actions: tuple[str, ...] = ()
    whole: bool = False
    revoked: bool = False
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: one entry, or several of the same id in several logs.

    time: when the hub stored the first of them. at: when it was signed, until: when it is not begun any more, both Unix seconds.
    cancelled_by: who wanted it to end, empty for nobody; cancelled: when the hub stored that. by, problem, revoked: as of
    :class:`LogEntry`.
    """

    id: str
    action: str
    time: datetime
    at: int
    until: int
    by: str
    scopes: tuple[Scope, ...]
    args: dict[str, Any] = field(default_factory=dict)
    target: Target = field(default_factory=Target)
    splay_seconds: float = 0.0
    older_enrolments: bool = False
    note: str = ""
    cancelled_by: str = ""
    cancelled: datetime | None = None
    problem: str = ""
    revoked: bool = False

    @property
    def selector(self) -> str:
        """Whom it is for, as one would type it. Who is limited to groups reaches devices through these: the devices are meant."""
        groups = [f"-g {scope.name}" for scope in self.scopes if scope.kind == "group"]
        words = [] if self.target.devices else groups
        words += [f"-d {scope.name}" for scope in self.scopes if scope.kind == "device"]
        words += [f"-d {device}" for device in self.target.devices]
        words += [f"-l {key}={value}" for key, value in self.target.labels.items()]
        words += [f"--where {self.target.where!r}"] if self.target.where else []
        return " ".join(words) or "--all"


def place_of(subject: str) -> tuple[Scope, int] | None:
    """The scope and number of ``edge.to.<kind>.<name>.cmd.<n>``; None for anything else."""
    tokens = subject.split(".")
    if len(tokens) != 6 or tokens[:2] != ["edge", "to"] or tokens[4] != "cmd":
        return None
    number = int(tokens[5]) if tokens[5].isascii() and tokens[5].isdigit() else 0
    return (Scope(tokens[2], tokens[3]), number) if 0 < number < MAX_NUMBER and str(number) == tokens[5] else None


def log_entry(stored: Stored, pins: Pins | None = None) -> LogEntry | None:
    """What can be said of a message of the stream; None when its subject is no place in a log. Never raises.

    pins: whom devices follow; None: nobody told.
    """
    place = place_of(stored.subject)
    if place is None:
        return None
    bare = LogEntry(*place, stored.time)
    try:
        envelope = peek(stored.data)
        entry = entry_of(envelope.body.encode())
    except (EdgeError, UnicodeEncodeError) as error:
        return bare._replace(problem=f"it is no command ({error})")
    found = bare._replace(entry=entry, at=envelope.at)
    wrong = _misplaced(envelope, bare) or _impossible(entry)
    if wrong:
        return found._replace(problem=wrong)
    verdict = judged(stored.data, kind="command", scope=bare.scope, pins=pins)
    found = found._replace(**verdict._asdict())
    if verdict.key and not is_made_by(entry.id, verdict.key):
        return found._replace(problem="its id was made by somebody else")
    if not verdict.problem and entry.action != CANCEL and not permitted(verdict.actions, entry.action):
        return found._replace(problem=f"{verdict.by} may not give this command")
    return found


def _misplaced(envelope: Signed, place: LogEntry) -> str:
    signed = (envelope.kind, envelope.scope, envelope.number)
    if signed == ("command", str(place.scope), place.number):
        return ""
    return f"it was signed as {envelope.kind} {envelope.number} for {envelope.scope}"


def _impossible(entry: Entry) -> str:
    """What no device would follow: the bounds of :mod:`edgeagent.patterns.commandjudge`."""
    good = is_id(entry.id) and 0 < len(entry.action) <= MAX_NAME and 0 < entry.not_after < MAX_MOMENT
    good = good and 0 <= entry.splay_seconds <= MAX_SPLAY_SECONDS  # not a number is not
    return "" if good else "its id, action or times are impossible"


def made(entries: Iterable[LogEntry]) -> list[Command]:
    """The commands of these entries, the newest first. What nobody signed is left out.

    Entries of one id belong together only if the same person signed the same: devices carry out the first one that they see. One that
    they do not follow is a command only where no other has its id. A cancel counts where and for what its signer may give commands.
    """
    commands: dict[str, Command] = {}
    cancels: list[tuple[str, LogEntry]] = []
    for found in sorted(
        (item for item in entries if item.entry and item.whole), key=lambda item: (bool(item.problem), item.time)
    ):
        entry = found.entry
        assert entry is not None  # for the type checker: filtered above
        if entry.action == CANCEL:
            cancels += [] if found.problem else [(str(entry.args.get("id", "")), found)]
            continue
        known = commands.get(entry.id)
        if known is None:
            commands[entry.id] = _command(found, entry)
        elif (known.by, known.problem, known.action, known.args) == (found.by, found.problem, entry.action, entry.args):
            commands[entry.id] = replace(known, scopes=(*known.scopes, found.scope))
    for target, found in cancels:
        known = commands.get(target)
        if known and not known.cancelled_by and found.scope in known.scopes and permitted(found.actions, known.action):
            commands[target] = replace(known, cancelled_by=found.by, cancelled=found.time)
    return sorted(commands.values(), key=lambda command: (command.time, command.id), reverse=True)


def _command(found: LogEntry, entry: Entry) -> Command:
    return Command(
        id=entry.id,
        action=entry.action,
        time=found.time,
        at=found.at,
        until=entry.not_after,
        by=found.by,
        scopes=(found.scope,),
        args=entry.args,
        target=entry.target,
        splay_seconds=entry.splay_seconds,
        older_enrolments=entry.older_enrolments,
        note=entry.note,
        problem=found.problem,
        revoked=found.revoked,
    )
