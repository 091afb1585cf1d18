"""Which facts there are to ask for, and a plain word for a name that is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence

from edgeagent import wire
from edgeagent.builtin.facts import load_plugins
from edgeagent.cel import Evaluator
from edgeagent.errors import UsageProblem
from edgeagent.patterns.facts import catalogue as built_in
from edgeagent.registry import Field

__all__ = ["OPEN", "catalogue", "check", "nearest"]

#: Below these any name may be asked for: labels, sensors and microcontrollers differ from device to device.
OPEN = ("labels", "sensors", "mcus", "app")

_TYPES = {str: "string", bool: "bool", int: "int", float: "double", list: "list", dict: "map"}


def catalogue(reports: Iterable[wire.Facts]) -> list[Field]:
    """The built-in facts, and those that devices report beyond them (newer agents, plugins, labels), by name."""
    load_plugins()
    fields = {field.name: field for field in built_in()}
    for facts in reports:
        for name, value in _leaves(facts):
            if name not in fields and not _inside(name, fields):
                fields[name] = Field(name, _TYPES.get(type(value), "string"), "reported by devices")
    return [fields[name] for name in sorted(fields)]


def _leaves(facts: wire.Facts, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _inside(name: str, fields: dict[str, Field]) -> bool:
    """Whether a shorter name is a field of its own, such as a map whose keys differ from device to device."""
    parts = name.split(".")
    return any(".".join(parts[:end]) in fields and parts[0] not in OPEN for end in range(1, len(parts)))


async def check(evaluator: Evaluator, where: str, select: Sequence[str], reports: Iterable[wire.Facts]) -> None:
    """Raise UsageProblem for an expression that is no CEL, and for a field that no device can have."""
    names = [field.name for field in catalogue(reports)]
    if where:
        await evaluator.check(where, names, open_prefixes=OPEN)
    for name in select:
        if not _known(name, names):
            raise UsageProblem(
                f"select {name!r}", "there is no such field", nearest(name, names) or "`edgeagent fleet fields` lists them"
            )


def _known(name: str, names: Sequence[str]) -> bool:
    return name.split(".")[0] in OPEN or any(
        name == known or known.startswith(f"{name}.") or name.startswith(f"{known}.") for known in names
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'pi-01'?``, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""
