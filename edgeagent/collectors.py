"""The one door through which measurements enter: built-in collectors and strangers' plugins alike.

A collector is a function ``collect(round) -> samples`` with its metrics declared beside it, or a class whose objects are called like
one: each sampler makes its own, so what it remembers (for a rate) is nobody else's. What a machine does not have is left out; that is
no error. Collectors run one after the other in a thread of their own, so they may read what takes a moment, and must not touch the
agent. Names and units are those of OpenTelemetry's semantic conventions (v1.44, "System metrics", "Process metrics" and "Hardware
metrics") where these have some; units are UCUM's. Who wants the built-in collectors imports :mod:`edgeagent.builtin.collectors`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edgeagent.machine import Machine
from edgeagent.sample import COUNTER, Sample
from edgeagent.settings import Settings

__all__ = [
    "DURATION",
    "FAILURES",
    "NAME",
    "NAME_RULE",
    "Collector",
    "Metric",
    "OwnState",
    "Round",
    "collector",
    "collectors",
    "metrics",
]

#: One token of a subject: a collector that is a program gives its samples this source.
NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
NAME_RULE = "1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter"
#: Digits of a share: more are noise, and cost bytes.
SHARE_DIGITS = 4


@dataclass(frozen=True)
class Metric:
    """What is measured. unit: UCUM; ``1`` is a share from 0 to 1. description: one or two sentences. kind: "" or ``counter``.

    attributes: the names of those that its samples have.
    """

    name: str
    unit: str
    description: str
    kind: str = ""
    attributes: tuple[str, ...] = ()

    def __call__(self, value: float, *attributes: str) -> Sample:
        """A sample. attributes: their values, in the order of the names. A share is rounded to what is meant."""
        if self.unit == "1" and isinstance(value, float):
            value = float(f"{value:.{SHARE_DIGITS}g}")
        return Sample(self.name, value, dict(zip(self.attributes, attributes, strict=True)), unit=self.unit, kind=self.kind)


#: What is measured of the collectors themselves (:mod:`edgeagent.patterns.collecting`).
_WHICH = ("edgeagent.collector",)
DURATION = Metric(
    "edgeagent.collector.duration", "s", "How long a collector took, once an hour and when it failed.", attributes=_WHICH
)
FAILURES = Metric(
    "edgeagent.collector.failures", "{failure}", "How often a collector has failed; only when it just did.", COUNTER, _WHICH
)


@dataclass(frozen=True, kw_only=True)
class OwnState:
    """What the agent knows of itself. leaf_pid: 0: it does not run. forwarded, waiting: messages; None: not known. dropped: by cause."""

    leaf_pid: int = 0
    leaf_restarts: int = 0
    waiting: int | None = None
    forwarded: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a collector is given. clock: monotonic, in seconds, the same for all collectors of a round."""

    machine: Machine
    settings: Settings
    clock: float
    own: OwnState = OwnState()


Collect = Callable[[Round], Iterable[Sample]]
_Make = TypeVar("_Make", bound=Callable[..., Any])


@dataclass(frozen=True)
class Collector:
    """make: gives what is called each round. seconds: it runs no more often; 0: each round."""

    name: str
    metrics: tuple[Metric, ...]
    make: Callable[[], Collect]
    module: str
    seconds: float = 0.0


_collectors: dict[str, Collector] = {}


def collector(name: str, *declared: Metric, seconds: float = 0.0) -> Callable[[_Make], _Make]:
    """Register the decorated function, or class of objects that are called, as the collector ``name`` of the metrics ``declared``.

    seconds: it runs no more often. Raises ValueError for a name that cannot be, a metric without a description, and for names that
    another module's collector has already. The same module may register again; the last one counts.
    """

    def register(made: _Make) -> _Make:
        _check(name, declared, made.__module__)
        make = made if isinstance(made, type) else lambda: made
        _collectors[name] = Collector(name, declared, make, made.__module__, seconds)
        return made

    return register


def _check(name: str, declared: tuple[Metric, ...], module: str) -> None:
    if not NAME.match(name):
        raise ValueError(f"{name!r} is no name of a collector: {NAME_RULE}")
    if name in _collectors and _collectors[name].module != module:
        raise ValueError(f"two collectors are called {name!r}")
    for metric in declared:
        Sample(metric.name, 0)
        if not metric.description.strip() or metric.kind not in ("", COUNTER):
            raise ValueError(f"the metric {metric.name} has no description, or another kind than {COUNTER!r}")
        for other in _collectors.values():
            if other.name != name and any(metric.name == taken.name and metric != taken for taken in other.metrics):
                raise ValueError(f"the metric {metric.name} is declared in another way by the collector {other.name!r}")


def collectors() -> list[Collector]:
    """Every registered collector, by name."""
    return [_collectors[name] for name in sorted(_collectors)]


def metrics() -> list[Metric]:
    """Every declared metric, by name."""
    found = {metric.name: metric for each in collectors() for metric in each.metrics}
    found.update({metric.name: metric for metric in (DURATION, FAILURES)})
    return [found[name] for name in sorted(found)]
