"""Whom a command is for: the logs that it goes into, and the devices that should carry it out, by what the hub knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edgeagent.cel import Evaluator
from edgeagent.cel.names import read_names
from edgeagent.command import Target
from edgeagent.errors import UsageProblem
from edgeagent.fleet import fields
from edgeagent.fleet.configscope import admitted, check_exists
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.selector import Selector
from edgeagent.fleet.states import Known
from edgeagent.registry import overlap
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.times import parse_rfc3339
from edgeagent.trust.signed import SKEW_SECONDS

__all__ = ["Aim", "Meant", "aimed", "check", "meant"]

WHAT = "command"
#: The clock of whoever signed may be so far behind that of the hub. A device that came later all the same refuses, and says so.
SKEW = timedelta(seconds=SKEW_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Aim:
    """The logs to write into, and which devices of these scopes are meant."""

    scopes: tuple[Scope, ...]
    target: Target = field(default_factory=Target)


@dataclass(frozen=True, kw_only=True)
class Meant:
    """The devices that should carry a command out, and those of which their reports do not tell, each by id.

    problem: why the filter cannot be evaluated on the report of some device, empty if it can on all.
    """

    sure: list[Known] = field(default_factory=list)
    unsure: list[Known] = field(default_factory=list)
    problem: str = ""


def aimed(selector: Selector, *, own: Sequence[str] = ()) -> Aim:
    """Where a command for ``selector`` goes. own: the groups that the login is limited to; its devices are reached through these.

    Raises UsageProblem for a group that is not among them, and a label that cannot have two values.
    """
    labels = dict(selector.labels)
    for key, value in selector.labels:
        if labels[key] != value:
            raise UsageProblem("select devices", f"the label {key} cannot be both {value!r} and {labels[key]!r}")
    target = Target(labels=labels, where=selector.where)
    if not own:
        return Aim(scopes=tuple(dict.fromkeys(selector.scopes)), target=target)
    return _limited(selector, target, own)


def _limited(selector: Selector, target: Target, own: Sequence[str]) -> Aim:
    for group in selector.groups:
        if group not in own:
            why = f"this login is limited to the groups {', '.join(own)}"
            raise UsageProblem(f"command the group {group!r}", why, "name one of these with -g, or none")
    if selector.devices and selector.groups:
        raise UsageProblem(
            "command groups and devices at once",
            "this login is limited to groups",
            "name groups, or devices, and send two commands",
        )
    groups = selector.groups or tuple(own)
    target = Target(devices=list(selector.devices), labels=target.labels, where=target.where)
    return Aim(scopes=tuple(Scope.group(group) for group in dict.fromkeys(groups)), target=target)


async def check(evaluator: Evaluator, roster: Roster, aim: Aim, *, own: Sequence[str] = ()) -> None:
    """Raise UsageProblem for a device or group that the hub does not know, a device that the scopes do not have, and a bad filter.

    own: the groups that the login is limited to; they need have no device yet.
    """
    for scope in aim.scopes:
        check_exists(roster, scope, own, doing=WHAT)
    for device in aim.target.devices:
        check_exists(roster, Scope.device(device), doing=WHAT)
        if not any(_holds(scope, roster.devices[device]) for scope in aim.scopes):
            groups = ", ".join(scope.name for scope in aim.scopes)
            raise UsageProblem(f"command {device!r}", f"this login is limited to the groups {groups}, and it is in none of them")
    if aim.target.where:
        reports = [known.facts for known in roster.devices.values() if known.facts]
        await fields.check(evaluator, aim.target.where, (), reports)


async def meant(evaluator: Evaluator, roster: Roster, aim: Aim, *, signed: datetime | None = None) -> Meant:
    """The devices that ``aim`` means, by their last reports.

    signed: when the command was; devices that were enrolled later do not carry it out. None: they do.
    """
    covered = [known for known in admitted(roster) if _covers(aim, known) and not _came_later(known, signed)]
    expression = Selector(labels=tuple(aim.target.labels.items()), where=aim.target.where).expression
    if not expression:
        return Meant(sure=covered)
    reported = [known for known in covered if known.facts is not None]
    silent = [known for known in covered if known.facts is None]
    if not reported:
        return Meant(unsure=silent)
    verdicts = await evaluator.evaluate_many(expression, [known.facts or {} for known in reported])
    found = Meant(unsure=silent, problem=next((verdict.problem for verdict in verdicts if verdict.problem), ""))
    for known, verdict in zip(reported, verdicts, strict=True):
        if verdict.matched:
            found.sure.append(known)
        elif verdict.missing and _is_volatile(aim.target.where):
            found.unsure.append(known)
    return found


def _covers(aim: Aim, known: Known) -> bool:
    named = not aim.target.devices or known.id in aim.target.devices
    return named and any(_holds(scope, known) for scope in aim.scopes)


def _holds(scope: Scope, known: Known) -> bool:
    return scope == FLEET_ALL or (scope.name in known.groups if scope.kind == "group" else scope.name == known.id)


def _came_later(known: Known, signed: datetime | None) -> bool:
    if signed is None or known.record is None or not known.record.added:
        return False
    try:
        return parse_rfc3339(known.record.added) > signed + SKEW
    except ValueError:
        return False


def _is_volatile(where: str) -> bool:
    """Whether the filter may name a fact that is in no report, such as the temperature: then a report does not tell."""
    volatile = [known.name for known in fields.catalogue([]) if known.volatile]
    return any(overlap(str(name), other) for name in read_names(where).fields for other in volatile)
