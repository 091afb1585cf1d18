"""What changes from one configuration to the next, and edits that can be made again on top of somebody else's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgeagent.config import flat, invalid, misplaced, nested
from edgeagent.errors import SettingsProblem, UsageProblem
from edgeagent.fleet.fields import nearest

__all__ = ["Changes", "assign", "check", "differences", "overlap", "remove"]

Values = Mapping[str, Any]
#: Dotted name -> (what it was, what it is); None where it is not there.
Changes = dict[str, tuple[Any, Any]]
#: So many keys are named where none comes near.
NAMED = 10


def differences(before: Values, after: Values) -> Changes:
    """Every key that is not the same, by name."""
    old, new = flat(before), flat(after)
    return {
        name: (old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if not _same(old.get(name), new.get(name))
    }


def _same(one: Any, other: Any) -> bool:
    """``True == 1`` and ``1 == 1.0`` in Python, but a program that reads its configuration sees the difference."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[word], other[word]) for word in one)
    return type(one) is type(other) and bool(one == other)


def assign(values: Values, changes: Values) -> dict[str, Any]:
    """The tables with these values, by dotted name; a table replaces what is there below its name.

    Raises Failed when a key would be a value and a table at once.
    """
    kept = {
        name: value
        for name, value in flat(values).items()
        if not any(isinstance(new, Mapping) and _below(name, table) for table, new in changes.items())
    }
    return nested({**kept, **flat(changes)})


def remove(values: Values, names: Iterable[str]) -> dict[str, Any]:
    """The tables without these keys; the name of a table takes all that is below it. Raises UsageProblem for one that is not there."""
    kept = flat(values)
    for name in names:
        gone = [key for key in kept if _below(key, name)]
        if not gone and not any(_below(key, name) for key in flat(values)):
            raise UsageProblem(f"unset {name}", "it is not set there", near(name, values))
        for key in gone:
            del kept[key]
    return nested(kept)


def near(name: str, values: Values) -> str:
    """What may be meant by a ``name`` that is not there, as a remedy."""
    there = list(flat(values))
    tables = {key.rpartition(".")[0] for key in there} | {".".join(key.split(".")[:2]) for key in there}
    if not there:
        return "nothing is set there"
    more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
    return nearest(name, [*there, *sorted(tables)]) or f"these are: {', '.join(there[:NAMED])}{more}"


def overlap(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """The names of ``one`` that are, hold, or are held by, one of the ``other``."""
    others = list(other)
    return [name for name in one if any(_below(name, held) or _below(held, name) for held in others)]


def _below(name: str, table: str) -> bool:
    return name == table or name.startswith(f"{table}.")


def check(values: Values, what: str) -> None:
    """Raise SettingsProblem with all that is wrong with a document. what: as for :class:`EdgeError`."""
    problems = [*misplaced(values), *invalid(values)]
    if problems:
        raise SettingsProblem(what, problems, "`edgeagent config keys` lists what there is")
