"""Whose stored messages to read: ``-d id``, ``-g group``, ``-l key=value``, ``--where CEL``, by what the hub knows. No device is woken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeagent.cel import Evaluator
from edgeagent.direct import get_last
from edgeagent.errors import UsageProblem
from edgeagent.fleet import fields as field_names
from edgeagent.fleet.configscope import check_exists
from edgeagent.fleet.leftout import LeftOut
from edgeagent.fleet.roster import Roster, read_roster
from edgeagent.fleet.selector import Selector
from edgeagent.fleet.states import Known
from edgeagent.subjects import Scope

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


#: A verb, for errors.
_DOING = "read what is stored of"


async def chosen(
    fleet: Fleet, evaluator: Evaluator, whose: Whose, stream: str, subject: Callable[[str], str], left: LeftOut
) -> tuple[str, ...] | None:
    """Ids of the devices; None: all that there are.

    A filter is evaluated on each device's last report, as ``--cached`` does; a device that never reported is left out then. Devices that
    were forgotten can be named as long as ``stream`` has something on their ``subject``; so can the hub itself where it has.
    ``left`` is told when nobody is what was asked for. Raises UsageProblem for what is not known at all, and a bad filter.
    """
    selector, own = whose.selector(), fleet.login.groups
    if selector == Selector():
        if whose.everybody or not own:
            return None
        selector = Selector(groups=own)
    only_ids = selector == Selector(devices=selector.devices)
    roster = await read_roster(fleet.client, selector.devices if only_ids else ())
    forgotten = []
    for device in selector.devices:
        if device not in roster.devices:
            if await get_last(fleet.client, stream, subject(device)) is None:
                check_exists(await fleet.roster(), Scope.device(device), doing=_DOING)
            forgotten.append(device)
    for group in selector.groups:
        check_exists(roster, Scope.group(group), own, doing=_DOING)
    known = sorted((known for known in roster.devices.values() if selector.covers(known)), key=lambda known: known.id)
    found = (*forgotten, *(device.id for device in await _filtered(evaluator, selector, known, roster)))
    if not found:
        left.unmatched = len(roster.devices)
    return found


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
