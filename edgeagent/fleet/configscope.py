"""Which devices a scope is for, whether there is such a scope, and who may write to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.errors import UsageProblem
from edgeagent.fleet.fields import nearest
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.states import Known
from edgeagent.subjects import Scope

__all__ = ["admitted", "check_exists", "check_own", "members"]


def admitted(roster: Roster) -> list[Known]:
    """The devices that are not kept out, by id.

    Those that the register does not have, but the hub has heard, are among them: their credentials outlive a hub that lost its store.
    """
    found = [known for known in roster.devices.values() if not (known.record and known.record.revoked)]
    return sorted(found, key=lambda known: known.id)


def members(roster: Roster, scope: Scope) -> list[Known]:
    """The devices that follow the scope's document."""
    if scope.kind == "fleet":
        return admitted(roster)
    return [
        known for known in admitted(roster) if (scope.name in known.groups if scope.kind == "group" else known.id == scope.name)
    ]


def check_exists(roster: Roster, scope: Scope, own: Sequence[str] = (), *, doing: str = "configure") -> None:
    """Raise UsageProblem for a device that the hub has never heard of, and a group without devices, with the names that come near.

    own: the groups that the login is limited to; they need have no device yet. doing: a verb, for the error.
    """
    known = roster.devices.values()
    if scope.kind == "device":
        _check(doing, scope, {found.id for found in known}, "the hub knows no such device", "`edgeagent device ls` shows all")
    elif scope.kind == "group":
        groups = {*own, *(group for found in known for group in found.groups)}
        _check(doing, scope, groups, "no device is in such a group", "`edgeagent device ls` shows groups")


def _check(doing: str, scope: Scope, names: set[str], why: str, remedy: str) -> None:
    if scope.name not in names:
        near = nearest(scope.name, names) or remedy
        advance = " (`--force` sets it in advance)" if doing == "configure" else ""
        raise UsageProblem(f"{doing} the {scope.kind} {scope.name!r}", why, f"{near}{advance}")


def check_own(scope: Scope, own: Sequence[str]) -> None:
    """Raise UsageProblem when the login is limited to other groups: the hub would not take it, and no device follow it."""
    if own and not (scope.kind == "group" and scope.name in own):
        limits = ", ".join(own)
        raise UsageProblem(f"configure {scope}", f"this login is limited to the groups {limits}", "name one of these with -g")
