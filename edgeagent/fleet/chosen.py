"""Whose stored messages to read: ``-d id``, ``-g group``, ``-l key=value``, ``--where CEL``, by what the hub knows. No device is woken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeagent.cel import Evaluator
from edgeagent.errors import UsageProblem
from edgeagent.fleet import fields as field_names
from edgeagent.fleet.configscope import check_exists
from edgeagent.fleet.roster import Roster, read_roster
from edgeagent.fleet.selector import Selector
from edgeagent.fleet.states import Known

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["ALLOWED", "Whose", "chosen"]


@dataclass(frozen=True, kw_only=True)
class Whose:
    """Arguments as of :meth:`Fleet.query <edgeagent.fleet.client.Fleet.query>`; nothing: every device, or those of the groups that the
    login is limited to. everybody: every device, whatever the login is limited to: what is stored can be read by all people.
    """

    devices: Iterable[str] = ()
    groups: Iterable[str] = ()
    labels: Iterable[str] = ()
    where: str = ""
    everybody: bool = False

    def selector(self) -> Selector:
        """Raises UsageProblem for words that cannot be meant."""
        chosen = Selector.of(devices=tuple(self.devices), groups=tuple(self.groups), labels=tuple(self.labels), where=self.where)
        if self.everybody and chosen != Selector():
            raise UsageProblem("select devices", "--all is every device, and some are named too", "leave out one of both")
        return chosen


#: Every device that the login may address.
ALLOWED = Whose()


async def chosen(fleet: Fleet, evaluator: Evaluator, whose: Whose, *, beside: Sequence[str] = ()) -> tuple[str, ...] | None:
    """Ids of the devices; None: all that there are, also such as were forgotten since.

    A filter is evaluated on each device's last report, as ``--cached`` does; a device that never reported is left out then.
    beside: ids that may be named and are no devices. Raises UsageProblem for what the hub does not know, and a bad filter.
    """
    selector, own = whose.selector(), fleet.login.groups
    if selector == Selector():
        if whose.everybody or not own:
            return None
        selector = Selector(groups=own)
    only_ids = selector == Selector(devices=selector.devices)
    roster = await read_roster(fleet.client, selector.devices if only_ids else ())
    if not set(selector.devices) <= {*roster.devices, *beside}:
        roster = await fleet.roster()  # for the names that come near
    for scope in selector.scopes if selector.devices or selector.groups else ():
        if scope.name not in beside:
            check_exists(roster, scope, own, doing="read what is stored of")
    known = sorted((known for known in roster.devices.values() if selector.covers(known)), key=lambda known: known.id)
    named = [device for device in beside if device in selector.devices]
    return tuple(named + [known.id for known in await _filtered(evaluator, selector, known, roster)])


async def _filtered(evaluator: Evaluator, selector: Selector, known: list[Known], roster: Roster) -> list[Known]:
    """Those for which labels and filter hold."""
    if not selector.expression:
        return known
    if selector.where:
        reports = [known.facts for known in roster.devices.values() if known.facts]
        await field_names.check(evaluator, selector.where, (), reports)
    reported = [device for device in known if device.facts is not None]
    if not reported:
        return []
    verdicts = await evaluator.evaluate_many(selector.expression, [device.facts or {} for device in reported])
    return [device for device, verdict in zip(reported, verdicts, strict=True) if verdict.matched]
