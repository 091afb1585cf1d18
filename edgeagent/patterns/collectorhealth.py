"""How collectors do: counted for the status file, and told where one begins to fail, but not each time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.collectors import DURATION, FAILURES
from edgeagent.errors import EdgeError
from edgeagent.ratelimit import RateLimit
from edgeagent.sample import Sample
from edgeagent.status import CollectorStatus

__all__ = ["FILE", "Health", "Healths", "Told"]

log = logging.getLogger("edgeagent")

FILE = "collectors.json"

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


class Told:
    """The names of the collectors whose failure the hub has an event of, over restarts of the agent too: a broken one is told once.

    path: where they are kept; None: nowhere.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self.names = path, _load(path) if path else set[str]()

    def add(self, name: str) -> None:
        if name not in self.names:
            self.names.add(name)
            self._save()

    def discard(self, names: Iterable[str]) -> None:
        if gone := self.names & set(names):
            self.names -= gone
            self._save()

    def _save(self) -> None:
        """It changes no more often than events are told. A disk that does not take it costs an event that comes twice."""
        if self._path is None:
            return
        try:
            files.write_atomic(self._path, msgspec.json.encode(sorted(self.names)), 0o600)
        except EdgeError as error:
            log.warning("%s", error)


def _load(path: Path) -> set[str]:
    try:
        return msgspec.json.decode(files.read_if_there(path) or b"[]", type=set[str])
    except (EdgeError, ValueError) as error:
        log.warning("cannot use %s: %s", path, error)
        return set()


class Healths:
    """tell: an event, as :meth:`edgeagent.patterns.events.Events.tell`. on_change: called when one begins or ceases to fail.
    told: what need not be told again."""

    def __init__(self, tell: Tell, on_change: Callable[[], None] = lambda: None, told: Told | None = None) -> None:
        self._tell, self.on_change = tell, on_change
        self._told = told or Told()
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
        else:
            self._told.discard([name])
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
        self._event(health, f"left out the collector {name}: {why}")

    def only(self, names: Iterable[str]) -> None:
        """There are no others than these (any more)."""
        self._told.discard(self._told.names - set(names))

    def _say(self, health: Health, *, changed: bool) -> None:
        if changed and health.told.allow():
            self._event(health, f"the collector {health.name} failed: {health.error}", failures=health.failures)

    def _event(self, health: Health, text: str, **data: int) -> None:
        if health.name in self._told.names:
            return

        def sent() -> None:
            if health.error:  # else it is good again, and the next failure is news
                self._told.add(health.name)

        self._tell("warning", "collector.failed", text, on_sent=sent, collector=health.name, **data)
