"""What must be true of the calls that people made, and of the configuration. Pure: from what was written down to what is wrong.

Commands are judged by :mod:`tests.support.chaosjudge`, samples and messages by :mod:`tests.support.numbered`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from edgeagent.subjects import Scope

__all__ = ["Call", "Kind", "Order", "absences", "config_problems", "kinds", "late"]


class Call(NamedTuple):
    """One command line. begun, ended: on the monotonic clock. error: empty when it succeeded. answered: who did, where devices are asked."""

    kind: str
    begun: float
    ended: float
    error: str = ""
    answered: frozenset[str] = frozenset()


@dataclass
class Order:
    """A command as somebody typed it. line: what it writes on each device. context: of the hub. id: as it was told to the sender, empty
    for none."""

    line: str
    scopes: tuple[Scope, ...]
    context: str = ""
    id: str = ""
    error: str = ""


class Kind(NamedTuple):
    """All calls of a kind. usual: median of those that succeeded. longest: from the beginning of a call until one of the kind had succeeded,
    at worst; all in seconds."""

    name: str
    calls: int
    failed: int
    usual: float
    longest: float


def kinds(calls: Iterable[Call]) -> list[Kind]:
    """The calls by their kind, each kind in the order in which they were made."""
    found: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        found[call.kind].append(call)
    return [_kind(name, found[name]) for name in sorted(found)]


def _kind(name: str, calls: Sequence[Call]) -> Kind:
    good = [call.ended - call.begun for call in calls if not call.error]
    failed = sum(bool(call.error) for call in calls)
    return Kind(name, len(calls), failed, median(good) if good else 0.0, max(_waits(calls), default=0.0))


def _waits(calls: Iterable[Call]) -> Iterator[float]:
    """How long somebody would have had to try, again and again, until it was done."""
    begun = last = None
    for call in calls:
        begun = call.begun if begun is None else begun
        last = call.ended
        if not call.error:
            yield call.ended - begun
            begun = None
    if begun is not None and last is not None:
        yield last - begun


def late(calls: Iterable[Call], limit: float) -> list[str]:
    """Kinds of calls that took longer, failures before it included, than the limit, in seconds."""
    found = [kind for kind in kinds(calls) if kind.longest > limit]
    return [f"{kind.name}: {kind.longest:.1f} s until it was done, usually {kind.usual:.1f} s" for kind in found]


def absences(calls: Iterable[Call], devices: Iterable[str]) -> dict[str, float]:
    """For each device the longest time for which no query had its answer, in seconds; queries that failed say nothing of devices."""
    asked = [call for call in calls if call.kind == "fleet query" and not call.error]
    last = dict.fromkeys(devices, asked[0].begun if asked else 0.0)
    longest = dict.fromkeys(last, 0.0)
    for call in asked:
        for device in last:
            if device in call.answered:
                longest[device] = max(longest[device], call.ended - last[device])
                last[device] = call.ended
    if asked:
        return {device: max(longest[device], asked[-1].ended - last[device]) for device in last}
    return longest


def config_problems(
    notes: Mapping[str, bool], kept: Sequence[str], rows: Iterable[Mapping[str, Any]], *, others: Iterable[str] = ()
) -> list[str]:
    """notes: of every change, and whether it was acknowledged. kept: those in the audit. rows: of ``config status``. others: notes of
    changes that were made at another hub, and may be there too."""
    counts = Counter(kept)
    lost = [note for note, acknowledged in notes.items() if acknowledged and not counts[note]]
    twice = [note for note, count in counts.items() if count > 1]
    behind = [row["id"] for row in rows if row["error"] or row["applied"] != row["desired"]]
    found = {"acknowledged and lost": lost, "twice": twice, "made by nobody": sorted(counts.keys() - notes.keys() - set(others))}
    problems = [f"config: {len(what)} {name}: {', '.join(what[:5])}" for name, what in found.items() if what]
    return problems + ([f"config: not followed by {', '.join(behind)}"] if behind else [])
