"""The facts of one device, collected from the registered providers: no more of them than are asked for, and not twice a second.

This module knows the registry only. Who wants the built-in facts imports :mod:`edgeagent.builtin.facts`, on a device and on an
operator's laptop alike; there :func:`catalogue` lists the facts and nothing is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeagent import registry, wire
from edgeagent.machine import Machine
from edgeagent.registry import FactProvider, Field

__all__ = ["Facts", "ProviderStatistics", "catalogue", "select"]

log = logging.getLogger(__name__)

#: Dotted names and values from outside: id, labels, groups, the nats-server's version.
Extra = Mapping[str, Any]

#: Facts read within this time are given again: a flood of queries costs one reading a second.
CACHE_SECONDS = 1.0

#: A provider that takes longer holds up the agent's event loop where somebody can feel it.
SLOW_SECONDS = 0.1

_MISSING = object()


@dataclass
class ProviderStatistics:
    """What one provider has cost since the start. errors: readings that raised, or that gave a value of the wrong type.

    last_error: the newest of them, empty if there was none.
    """

    reads: int = 0
    errors: int = 0
    seconds_total: float = 0.0
    last_error: str = ""


class Facts:
    """Reads the facts of ``machine``. It blocks for as long as the providers do, which is milliseconds.

    extra: facts from outside, dotted, as a mapping or as a function that gives one (it is asked at each reading); they win over
    those of providers. cache_seconds: how long a reading is good for, 0 = never. clock: monotonic, in seconds.
    """

    def __init__(
        self,
        machine: Machine,
        extra: Extra | Callable[[], Extra] | None = None,
        *,
        cache_seconds: float = CACHE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine, self._extra = machine, extra
        self._cache_seconds, self._clock = cache_seconds, clock
        self._cache: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._statistics: dict[str, ProviderStatistics] = {}
        self._said: set[tuple[str, str]] = set()

    @property
    def statistics(self) -> Mapping[str, ProviderStatistics]:
        """By the provider's name; a provider that was not read yet is not there."""
        return self._statistics

    def stable(self) -> wire.Facts:
        """Every fact that does not change by itself, nested: what a report carries."""
        volatile = {field.name for field in registry.fields() if field.volatile}
        flat = self._collect(lambda field: not field.volatile)
        return registry.nest({name: value for name, value in flat.items() if name not in volatile})

    def current(self, wanted: Iterable[str] = ()) -> wire.Facts:
        """The facts now, nested. wanted: dotted names or roots of them (``memory``, ``memory.utilization``, ``labels.site``);
        empty = every fact. Whole providers are read, so there may be more in it than was wanted: :func:`select` picks.
        """
        names = tuple(wanted)
        if not names:
            return registry.nest(self._collect(lambda field: True))
        return registry.nest(self._collect(lambda field: any(registry.overlap(field.name, name) for name in names)))

    def _collect(self, wanted: Callable[[Field], bool]) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for provider in registry.fact_providers():
            if any(wanted(field) for field in provider.fields):
                flat.update(self._read(provider))
        extra = self._extra() if callable(self._extra) else self._extra
        flat.update(extra or {})
        return flat

    def _read(self, provider: FactProvider) -> Mapping[str, Any]:
        now = self._clock()
        at, values = self._cache.get(provider.name, (float("-inf"), {}))
        if now - at >= self._cache_seconds:
            values = self._measure(provider)
            self._cache[provider.name] = (now, values)
        return values

    def _measure(self, provider: FactProvider) -> Mapping[str, Any]:
        statistics = self._statistics.setdefault(provider.name, ProviderStatistics())
        started = time.perf_counter()
        try:
            values = self._checked(provider, provider.read(self._machine))
        except Exception as error:  # a stranger's code: whatever it raises costs its own facts and nothing else
            values = {}
            self._count(provider, f"{type(error).__name__}: {error}", kind=type(error).__name__)
        took = time.perf_counter() - started
        statistics.reads += 1
        statistics.seconds_total += took
        if took > SLOW_SECONDS:
            self._say(provider, "slow", f"took {took:.2f} s; it holds up the agent")
        return values

    def _checked(self, provider: FactProvider, values: Mapping[str, Any]) -> dict[str, Any]:
        """Only what was declared, of the declared type: the catalogue tells the truth, and JSON and CEL can carry it."""
        declared = {field.name: field for field in provider.fields}
        good: dict[str, Any] = {}
        for name, value in values.items():
            field = declared.get(name)
            if field is None:
                self._count(provider, f"{name} is not declared", kind=name)
            elif not field.accepts(value):
                self._count(provider, f"{name} is {value!r}, not of the type {field.type}", kind=name)
            else:
                good[name] = float(value) if field.type == "double" else value
        return good

    def _count(self, provider: FactProvider, problem: str, *, kind: str) -> None:
        statistics = self._statistics[provider.name]
        statistics.errors += 1
        statistics.last_error = problem
        self._say(provider, kind, problem)

    def _say(self, provider: FactProvider, kind: str, problem: str) -> None:
        if (provider.name, kind) not in self._said:
            self._said.add((provider.name, kind))
            log.warning("facts of %s: %s (said once)", provider.name, problem)


def catalogue() -> list[Field]:
    """Every fact that is registered, by name. Nothing is read."""
    return registry.fields()


def select(facts: Mapping[str, Any], names: Iterable[str]) -> wire.Facts:
    """The ``names`` (dotted, or roots) out of nested ``facts``, nested as they were; a name that is not there is left out."""
    chosen: dict[str, Any] = {}
    for name in sorted(set(names)):
        value = _find(facts, name)
        if value is not _MISSING:
            _put(chosen, name, value)
    return chosen


def _find(facts: Mapping[str, Any], name: str) -> Any:
    level: Any = facts
    for word in name.split("."):
        level = level.get(word, _MISSING) if isinstance(level, Mapping) else _MISSING
        if level is _MISSING:
            return _MISSING
    return level


def _put(chosen: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    level = chosen
    for parent in parents:
        level = level.setdefault(parent, {})
    level[last] = value
