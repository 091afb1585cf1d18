"""What is noticed of alerts as they are set: a metric that nobody sends is mostly a slip of the keyboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from edgeagent.cli.harmless import harmless

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.chosen import Whose
    from edgeagent.subjects import Scope

__all__ = ["unheard"]

#: Back to when is looked: metered devices send every half an hour. How long the look may take, in seconds: a note is not worth more.
SINCE, PATIENCE_SECONDS = timedelta(hours=1), 3.0
_PREFIX = "alert."


async def unheard(fleet: Fleet, scope: Scope, values: Mapping[str, Any]) -> list[str]:
    """A sentence for each alert among ``values`` (dotted names) whose metric no device of the scope sent lately.

    None where nothing was sent at all, or where that cannot be known soon.
    """
    import asyncio

    wanted = dict(_metrics(values))
    if not wanted:
        return []
    looking = asyncio.ensure_future(_names(fleet, scope))
    try:
        await asyncio.wait({looking}, timeout=PATIENCE_SECONDS)
    finally:
        looking.cancel()
        await asyncio.wait({looking})
    if looking.cancelled() or looking.exception() is not None:
        return []  # the configuration is stored, whatever became of the look
    return [
        _note(name, metric, looking.result()) for name, metric in wanted.items() if metric not in (looking.result() or {metric})
    ]


def _metrics(values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    from edgeagent.alertrules import parse

    for name, rule in values.items():
        if name.startswith(_PREFIX) and isinstance(rule, str) and rule.strip():
            yield name, parse(rule).metric


async def _names(fleet: Fleet, scope: Scope) -> set[str]:
    return {found.name for found in (await fleet.metrics.newest(_whose(scope), since=SINCE)).metrics()}


def _whose(scope: Scope) -> Whose:
    from edgeagent.fleet.chosen import Whose

    if scope.kind == "device":
        return Whose(devices=[scope.name])
    return Whose(groups=[scope.name]) if scope.kind == "group" else Whose(everybody=True)


def _note(name: str, metric: str, known: set[str]) -> str:
    from edgeagent.errors import as_sentence
    from edgeagent.fleet.fields import nearest

    remedy = as_sentence(nearest(metric, known) or "`edgeagent metrics ls` lists what there is")
    return harmless(f"NOTE: {name}: none of these devices sent {metric} within the last hour. {remedy}")
