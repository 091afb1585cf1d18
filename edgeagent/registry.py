"""The one door through which facts enter: built-ins and strangers' plugins alike.

A provider is a function ``read(machine) -> {dotted name: value}`` with its fields declared beside it. Deleting a provider's file
removes its facts and nothing else. What a machine does not have is left out by ``read``; that is not an error. A provider reads
small files and asks the kernel; it starts no process and waits for nothing, because it runs in the agent's event loop.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeagent.machine import Machine

__all__ = ["FactProvider", "Field", "fact_providers", "facts", "fields", "nest", "overlap"]

Read = Callable[[Machine], Mapping[str, Any]]

#: CEL's word for a type, and how a value of it looks in Python.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "double": (int, float),
    "bool": (bool,),
    "list": (list, tuple),
    "map": (dict,),
    "timestamp": (str,),
}

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\Z")

#: Words that CEL keeps for itself (its language definition, "Syntax"): a fact of such a name could never be asked for.
_RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "null", "package", "return", "true", "var", "void", "while"}
)


@dataclass(frozen=True)
class Field:
    """One fact.

    name: dotted, with its unit at the end (``_bytes``, ``_celsius``, ``_seconds``) unless it has none.
    type: CEL's word: ``string``, ``int``, ``double``, ``bool``, ``list``, ``map`` or ``timestamp`` (RFC 3339 text).
    description: one or two sentences for ``fleet fields``.
    volatile: changes by itself; read when asked, never in a report.
    """

    name: str
    type: str
    description: str
    volatile: bool = False

    def accepts(self, value: object) -> bool:
        """Whether ``value`` is of the declared type. Infinity and NaN are not: JSON has no words for them."""
        if isinstance(value, bool):
            return self.type == "bool"
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return isinstance(value, _TYPES[self.type])


@dataclass(frozen=True)
class FactProvider:
    name: str
    fields: tuple[Field, ...]
    read: Read


_providers: dict[str, FactProvider] = {}


def facts(name: str, *fields: Field) -> Callable[[Read], Read]:
    """Register the decorated function (or object with ``__call__``) as the provider ``name`` of ``fields``.

    Raises ValueError if a field is declared in a way that CEL or a reader could not use, if another module's provider has the name
    already, or a field that is the same as one of these or lies above or below it. The same module may register again (it was reloaded); the last one counts.
    """

    def register(read: Read) -> Read:
        others = [provider for provider in _providers.values() if provider.name != name]
        if name in _providers and _providers[name].read.__module__ != read.__module__:
            raise ValueError(f"two providers of facts are called {name!r}")
        for field in fields:
            _check(field)
            _check_is_free(field, others)
        _providers[name] = FactProvider(name, fields, read)
        return read

    return register


def _check(field: Field) -> None:
    if not _NAME.match(field.name) or _RESERVED & set(field.name.split(".")):
        raise ValueError(
            f"{field.name!r} is no name of a fact: dotted words of a-z, 0-9 and '_' that CEL does not keep for itself"
        )
    if field.type not in _TYPES:
        raise ValueError(f"the fact {field.name} has the unknown type {field.type!r}: use one of {', '.join(_TYPES)}")
    if not field.description.strip():
        raise ValueError(f"the fact {field.name} has no description")


def _check_is_free(field: Field, others: Iterable[FactProvider]) -> None:
    for provider in others:
        for taken in provider.fields:
            if overlap(field.name, taken.name):
                raise ValueError(f"the fact {field.name} collides with {taken.name} of the provider {provider.name!r}")


def overlap(one: str, other: str) -> bool:
    """Whether two dotted names are equal or one lies inside the other (``memory`` and ``memory.total_bytes``)."""
    return one == other or one.startswith(other + ".") or other.startswith(one + ".")


def fact_providers() -> Iterable[FactProvider]:
    """Every registered provider, by name."""
    return [_providers[name] for name in sorted(_providers)]


def fields() -> list[Field]:
    """Every declared fact, by name."""
    return sorted((field for provider in fact_providers() for field in provider.fields), key=lambda field: field.name)


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``{"memory.total_bytes": 1}`` as ``{"memory": {"total_bytes": 1}}``."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
        level[leaf] = value
    return nested
