"""The one door through which facts enter: built-ins and strangers' plugins alike.

A provider is a function ``read(machine) -> {dotted name: value}`` with its fields declared beside it. Deleting a provider's file
removes its facts and nothing else. What a machine does not have is left out by ``read``; that is not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeagent.machine import Machine

__all__ = ["FactProvider", "Field", "fact_providers", "facts", "nest"]

Read = Callable[[Machine], Mapping[str, Any]]


@dataclass(frozen=True)
class Field:
    """One fact.

    name: dotted, with its unit at the end (``_bytes``, ``_celsius``, ``_seconds``) unless it has none.
    type: CEL's word: ``string``, ``int``, ``double``, ``bool``, ``list``, ``map`` or ``timestamp`` (RFC 3339 text).
    volatile: changes by itself; read when asked, never in a report.
    """

    name: str
    type: str
    description: str
    volatile: bool = False


@dataclass(frozen=True)
class FactProvider:
    name: str
    fields: tuple[Field, ...]
    read: Read


_providers: dict[str, FactProvider] = {}


def facts(name: str, *fields: Field) -> Callable[[Read], Read]:
    """Register the decorated function as the provider ``name`` of ``fields``."""

    def register(read: Read) -> Read:
        if name in _providers and _providers[name].read.__module__ != read.__module__:
            raise ValueError(f"two providers of facts are called {name!r}")
        _providers[name] = FactProvider(name, fields, read)
        return read

    return register


def fact_providers() -> Iterable[FactProvider]:
    """Every registered provider, by name."""
    return [_providers[name] for name in sorted(_providers)]


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
