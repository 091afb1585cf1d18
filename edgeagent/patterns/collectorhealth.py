"""How collectors do: counted for the status file, and told where one begins to fail, but not each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edgeagent.collectors import DURATION, FAILURES
from edgeagent.ratelimit import RateLimit
from edgeagent.sample import Sample
from edgeagent.status import CollectorStatus

__all__ = ["Health", "Healths"]

#: How often the duration of each is a sample, in seconds.
DURATION_SECONDS = 3600.0
#: Events of one collector: so many at once, and one an hour in the long run.
EVENTS, EVENTS_A_SECOND = 3, 1 / 3600
#: How much is kept of why one failed, in characters.
MAX_ERROR = 300

Tell = Callable[..., None]


def _few() -> RateLimit:
    return RateLimit(EVENTS_A_SECOND, EVENTS)


@dataclass
class Health:
    """One collector since the start; the fields are those of :class:`edgeagent.status.CollectorStatus`."""

    name: str
    runs: int = 0
    failures: int = 0
    samples: int = 0
    seconds: float = 0.0
    malformed: int = 0
    error: str = ""
    stuck: bool = False
    measured_at: float = float("-inf")
    told: RateLimit = field(default_factory=_few)

    def status(self) -> CollectorStatus:
        return CollectorStatus(**{name: getattr(self, name) for name in CollectorStatus.__struct_fields__})


class Healths:
    """tell: an event, as :meth:`edgeagent.patterns.events.Events.tell`. on_change: called when one begins or ceases to fail."""

    def __init__(self, tell: Tell, on_change: Callable[[], None] = lambda: None) -> None:
        self._tell, self.on_change = tell, on_change
        self._all: dict[str, Health] = {}

    def of(self, name: str) -> Health:
        return self._all.setdefault(name, Health(name))

    def all(self) -> list[CollectorStatus]:
        """By name."""
        return [self._all[name].status() for name in sorted(self._all)]

    def ran(self, name: str, *, seconds: float, samples: int, error: str = "") -> Iterator[Sample]:
        """One has run; the samples of that, if it is worth any. error: why it failed, a sentence without a full stop; empty: it did not."""
        health = self.of(name)
        changed = bool(error) != bool(health.error)
        health.runs, health.samples, health.seconds = health.runs + 1, health.samples + samples, round(seconds, 4)
        health.error, health.stuck = error[:MAX_ERROR], False
        if error:
            health.failures += 1
            self._say(health, changed=changed)
            yield FAILURES(health.failures, name)
        now = time.monotonic()
        if error or now - health.measured_at >= DURATION_SECONDS:
            health.measured_at = now
            yield DURATION(health.seconds, name)
        if changed:
            self.on_change()

    def hangs(self, name: str, seconds: float) -> Iterator[Sample]:
        """One has not come back for so long."""
        yield from self.ran(
            name, seconds=seconds, samples=0, error=f"it has not come back for {seconds:g} s; it is left alone until then"
        )
        self.of(name).stuck = True

    def unusable(self, name: str, why: str) -> None:
        """One can't run at all."""
        health = self.of(name)
        health.error = why[:MAX_ERROR]
        self._tell("warning", "collector.failed", f"left out the collector {name}: {why}", collector=name)

    def _say(self, health: Health, *, changed: bool) -> None:
        if changed and health.told.allow():
            text = f"the collector {health.name} failed: {health.error}"
            self._tell("warning", "collector.failed", text, collector=health.name, failures=health.failures)
