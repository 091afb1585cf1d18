"""Watches samples by rules: when an alert is raised and when it is cleared. Pure: whoever calls gives the clock.

Each series (a source and its attributes) is watched on its own. How long something has held is reckoned from when its samples were seen,
by a monotonic clock: neither a clock that is set nor the time in a sample moves it. Between two samples a condition counts as held.
What is raised stays so until a sample clears it, its rule is gone or another one, or too many others of the rule need its place and it had
no sample for an hour.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from edgeagent.alertrules import Rule, parse
from edgeagent.sample import Sample

__all__ = ["Change", "Key", "Standing", "Watch"]

#: Series of one rule that may be pending or raised at once, those that the agent measures itself apart from those of others: whoever makes
#: up attributes must neither fill the memory nor keep the agent's own from being watched.
MAX_SERIES = 100
#: One without a sample for so long gives its place to another when there are that many, in seconds.
FORGOTTEN_SECONDS = 3600.0
#: One that was raised so often within the time has to be clear for the quiet time before it is cleared, in seconds.
FLAPS, FLAPS_SECONDS, QUIET_SECONDS = 4, 3600.0, 600.0

#: Name of the alert, source, attributes.
Key = tuple[str, str, tuple[tuple[str, str], ...]]


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person should know of one alert and series, as it is kept over a restart.

    rule: its text. raised: else it was cleared. value: which made it so. since: Unix time at which it was raised or cleared.
    """

    alert: str
    rule: str
    source: str
    metric: str
    attributes: dict[str, str] = {}
    raised: bool = True
    value: float = 0.0
    since: float = 0.0
    why: str = ""

    @property
    def key(self) -> Key:
        return self.alert, self.source, tuple(sorted(self.attributes.items()))


class Change(NamedTuple):
    """One alert is raised or cleared. before: as it was. flapping: it was raised often of late, and is slow to be cleared."""

    now: Standing
    rule: Rule
    before: Standing | None = None
    flapping: bool = False


class _Series:
    """since: when what would change it began to hold; None: it does not. raised: when it was, of late. seen: when its newest sample was;
    None: not since the start."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.seen: float | None = None
        self.raised: deque[float] = deque()

    def held(self, now: float, *, holds: bool) -> float:
        """For how long it has held; less than nothing when it does not."""
        self.since = (now if self.since is None else self.since) if holds else None
        return -1.0 if self.since is None else now - self.since

    def flaps(self, now: float) -> bool:
        while self.raised and now - self.raised[0] > FLAPS_SECONDS:
            self.raised.popleft()
        return len(self.raised) >= FLAPS


class Watch:
    """All rules of a device. standing: what was raised when it was last known. own: whose samples only the agent writes.

    full: rules that did not watch a series because there were too many.
    """

    def __init__(self, standing: Iterable[Standing] = (), own: Container[str] = ()) -> None:
        self._own = own
        self.full: set[str] = set()
        self.raised: dict[Key, Standing] = {each.key: each for each in standing}
        self._rules: dict[str, tuple[str, Rule]] = {}
        self._by_metric: defaultdict[str, list[str]] = defaultdict(list)
        self._series: dict[Key, _Series] = {key: _Series() for key in self.raised}

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to watch."""
        return not self._rules

    def set_rules(self, texts: Mapping[str, str], now_unix: float) -> list[Change]:
        """Watch by these, by name; they are good. An empty one is none. What was raised by one that is gone, or another now, is cleared."""
        self._rules = {name: (text, parse(text)) for name, text in texts.items() if text.strip()}
        self._by_metric.clear()
        for name, (_, rule) in self._rules.items():
            self._by_metric[rule.metric].append(name)
        gone = [each for each in self.raised.values() if self._text(each.alert) != each.rule]
        kept = {key: series for key, series in self._series.items() if key[0] in self._rules}
        self._series = kept
        self.full.clear()
        return [self._forgotten(each, now_unix, self._why_gone(each)) for each in gone]

    def _why_gone(self, before: Standing) -> str:
        return "its rule was changed" if before.alert in self._rules else "its rule is gone"

    def _text(self, name: str) -> str:
        return self._rules[name][0] if name in self._rules else ""

    def _forgotten(self, before: Standing, now_unix: float, why: str) -> Change:
        del self.raised[before.key]
        self._series.pop(before.key, None)
        after = msgspec.structs.replace(before, raised=False, since=now_unix, why=why)
        return Change(after, parse(before.rule), before)

    def take(self, source: str, samples: Iterable[Sample], now: float, now_unix: float) -> list[Change]:
        """What follows from these. now: monotonic, in seconds; now_unix: the device's clock."""
        return [
            change
            for sample in samples
            for name in self._by_metric.get(sample.metric, ())
            if self._rules[name][1].fits(sample.metric, sample.attributes)
            for change in self._judged(name, source, sample, now, now_unix)
        ]

    def _judged(self, name: str, source: str, sample: Sample, now: float, now_unix: float) -> Iterator[Change]:
        text, rule = self._rules[name]
        key: Key = (name, source, tuple(sorted(sample.attributes.items())))
        before = self.raised.get(key)
        series = self._series.get(key)
        if series is None:
            if not rule.raised.holds(sample.value):
                return
            yield from self._make_room(name, source, now, now_unix)
            if self._is_full(name, source):
                self.full.add(name)
                return
            series = self._series[key] = _Series()
        series.seen = now
        if before is None:
            changes = 0 <= rule.for_seconds <= series.held(now, holds=rule.raised.holds(sample.value))
        else:
            seconds = max(rule.clear_seconds, QUIET_SECONDS if series.flaps(now) else 0.0)
            changes = seconds <= series.held(now, holds=rule.is_clear(sample.value))
        if changes:
            standing = Standing(
                alert=name,
                rule=text,
                source=source,
                metric=sample.metric,
                attributes=sample.attributes,
                raised=before is None,
                value=sample.value,
                since=now_unix,
            )
            yield self._changed(standing, rule, series, now)
        elif before is None and series.since is None and not series.flaps(now) and not series.raised:
            del self._series[key]

    def _changed(self, after: Standing, rule: Rule, series: _Series, now: float) -> Change:
        series.since = None
        before = self.raised.pop(after.key, None)
        if after.raised:
            self.raised[after.key] = after
            series.raised.append(now)
        return Change(after, rule, before, series.flaps(now))

    def _is_full(self, name: str, source: str) -> bool:
        return len(self._beside(name, source)) >= MAX_SERIES

    def _beside(self, name: str, source: str) -> list[Key]:
        """The series of a rule that one of that source shares its bound with."""
        is_own = source in self._own
        return [key for key in self._series if key[0] == name and (key[1] in self._own) == is_own]

    def _make_room(self, name: str, source: str, now: float, now_unix: float) -> Iterator[Change]:
        """Where there is none, forget series that have no samples any more."""
        if not self._is_full(name, source):
            return
        for key in self._beside(name, source):
            series = self._series[key]
            series.seen = now if series.seen is None else series.seen
            if now - series.seen < FORGOTTEN_SECONDS:
                continue
            if before := self.raised.get(key):
                yield self._forgotten(before, now_unix, "it has had no sample for an hour")
            else:
                del self._series[key]
