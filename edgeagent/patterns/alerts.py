"""The alerts of a device: what its rules make of the samples is told as events, and neither a restart nor a long outage loses or
repeats one.

What is raised, and what has not been acknowledged by the hub, stands in a file.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import files
from edgeagent.alertrules import Rule, parse
from edgeagent.errors import EdgeError
from edgeagent.patterns.alertwatch import MAX_SERIES, Change, Key, Standing, Watch
from edgeagent.patterns.sampler import SOURCE
from edgeagent.sample import Sample
from edgeagent.status import RaisedAlert
from edgeagent.times import duration

__all__ = ["FILE", "Alerts"]

log = logging.getLogger("edgeagent")

FILE = "alerts.json"
#: At most one write in so many seconds: it goes to the card.
QUIET_SECONDS = 1.0
#: What the word that tells one alert from all others may have, in characters: the hub looks at no more of it.
MAX_ALERT = 300
#: What had no room among the waiting events is told again, so many at once, and each so often: what the hub refuses is not told for ever.
AGAIN, AGAIN_TIMES = 50, 3
#: How many the status names.
MAX_SHOWN = 10
#: So many that are cleared wait for the hub at most; then the oldest are forgotten.
MAX_CLEARED = 1000

Tell = Callable[..., None]


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """told: the hub has the event."""

    standing: Standing
    told: bool = False


class _File(msgspec.Struct, omit_defaults=True):
    alerts: list[_Kept] = []
    v: int = 1


class Alerts:
    """The alerts, kept in ``folder``.

    rules: by name. tell: an event, as :meth:`edgeagent.patterns.events.Events.tell`. on_change: called when one is raised or cleared.
    own: whose samples only the agent writes; others have a bound of their own.
    """

    def __init__(
        self,
        folder: Path,
        rules: Mapping[str, str],
        tell: Tell,
        on_change: Callable[[], None] = lambda: None,
        own: Container[str] = (SOURCE,),
    ) -> None:
        self._path, self._tell = folder / FILE, tell
        self._on_change: Callable[[], None] = lambda: None  # whoever makes it looks itself
        self._kept: dict[Key, _Kept] = {each.standing.key: each for each in _load(self._path)}
        self._watch = Watch((each.standing for each in self._kept.values() if each.standing.raised), own)
        self._full: set[str] = set()
        self._again: Counter[Key] = Counter()
        self._unsaved = asyncio.Event()
        for kept in list(self._kept.values()):
            if not kept.told:
                self._say(Change(kept.standing, parse(kept.standing.rule)))
        self.set_rules(rules)
        self._on_change = on_change

    @property
    def is_idle(self) -> bool:
        """Whether there is no rule, so that no sample need be shown."""
        return self._watch.is_idle

    @property
    def severities(self) -> dict[str, str]:
        """What is raised: its name, once however many series it has, and its severity."""
        rules = {standing.alert: standing.rule for standing in self._watch.raised.values()}
        return {name: parse(rules[name]).severity for name in sorted(rules)}

    @property
    def standing(self) -> list[RaisedAlert]:
        """What is raised, the oldest first; a few of many."""
        oldest = sorted(self._watch.raised.values(), key=lambda standing: standing.since)[:MAX_SHOWN]
        return [_shown(standing, parse(standing.rule)) for standing in oldest]

    def set_rules(self, rules: Mapping[str, str]) -> None:
        """Watch by these from now on."""
        self._full.clear()
        self._changed(self._watch.set_rules(rules, time.time()))

    def take(self, source: str, samples: list[Sample]) -> None:
        """Look at samples as they are taken."""
        self._changed(self._watch.take(source, samples, time.monotonic(), time.time()))
        for name in sorted(self._watch.full - self._full):
            self._full.add(name)
            text = f"{name}: there are {MAX_SERIES} series of it that are raised or pending; others are not watched until some are well"
            self._tell("warning", "alerts.full", text, rule=name)

    def tell_again(self) -> None:
        """No event waits: tell what the hub has not, because it had no room."""
        untold = [key for key, kept in self._kept.items() if not kept.told and self._again[key] < AGAIN_TIMES]
        for key in untold[:AGAIN]:
            self._again[key] += 1
            standing = self._kept[key].standing
            self._say(Change(standing, parse(standing.rule)))

    async def keep(self) -> None:
        """Write what changes, for ever, and at the end."""
        try:
            while True:
                await self._unsaved.wait()
                self.save()
                await asyncio.sleep(QUIET_SECONDS)
        finally:
            self.save()

    def save(self) -> None:
        """Write what changed. It blocks for as long as the disk takes, and alerts change seldom.

        A disk that does not take it costs no more than an event that comes twice after a restart.
        """
        if not self._unsaved.is_set():
            return
        self._unsaved.clear()
        try:
            files.write_atomic(self._path, msgspec.json.encode(_File(alerts=list(self._kept.values()))), 0o600)
        except EdgeError as error:
            log.warning("%s", error)

    def _changed(self, changes: list[Change]) -> None:
        for change in changes:
            self._kept.pop(change.now.key, None)
            self._kept[change.now.key] = _Kept(change.now)  # the newest last
            del self._again[change.now.key]
            self._say(change)
        if changes:
            self._forget()
            self._unsaved.set()
            self._on_change()

    def _forget(self) -> None:
        cleared = [key for key, kept in self._kept.items() if not kept.standing.raised]
        for key in cleared[: max(0, len(cleared) - MAX_CLEARED)]:
            del self._kept[key]

    def _say(self, change: Change) -> None:
        now = change.now
        self._tell(
            change.rule.severity,
            f"alert.{now.alert}.{'raised' if now.raised else 'cleared'}",
            _text(change),
            on_sent=lambda: self._told(now),
            **_data(now, change.flapping),
        )

    def _told(self, standing: Standing) -> None:
        kept = self._kept.get(standing.key)
        if kept is None or kept.standing != standing:
            return  # something newer is to be told
        if standing.raised:
            self._kept[standing.key] = _Kept(standing, told=True)
        else:
            del self._kept[standing.key]
        self._unsaved.set()


def _load(path: Path) -> list[_Kept]:
    """What was kept. A damaged file is none: alerts are raised anew by their next samples."""
    try:
        found = msgspec.json.decode(files.read_if_there(path) or b"{}", type=_File).alerts
        for kept in found:
            parse(kept.standing.rule)
        return found
    except (EdgeError, ValueError, RecursionError) as error:
        log.warning("cannot use %s: %s", path, error)
        return []


def _shown(now: Standing, rule: Rule) -> RaisedAlert:
    return RaisedAlert(alert=_name(now), severity=rule.severity, value=now.value, condition=_condition(rule), since=now.since)


def _data(now: Standing, flapping: bool) -> dict[str, Any]:
    """alert: the same when it is raised and cleared, and another for each series."""
    data: dict[str, Any] = {"alert": _name(now)}
    data.update(metric=now.metric, value=now.value, rule=now.rule, source=now.source)
    if now.attributes:
        data["attributes"] = now.attributes
    return {**data, "flapping": True} if flapping else data


def _name(now: Standing) -> str:
    of = f" of {now.source}" if now.source != SOURCE else ""
    return _short(f"{now.alert}{_braced(now.attributes)}{of}")


def _short(alert: str) -> str:
    """It whole, or its beginning and a hash: two that begin alike must not become one."""
    if len(alert) <= MAX_ALERT:
        return alert
    mark = f"…{hashlib.sha256(alert.encode(errors='surrogatepass')).hexdigest()[:16]}"
    return alert[: MAX_ALERT - len(mark)] + mark


def _braced(attributes: Mapping[str, str]) -> str:
    inner = ", ".join(f'{name}="{value}"' for name, value in sorted(attributes.items()))
    return f"{{{inner}}}" if inner else ""


def _text(change: Change) -> str:
    """One sentence: ``hot: hw.temperature{hw.id="cpu"} is 81.2 (> 80 for 2m)``."""
    now, before = change.now, change.before
    series = f"{now.metric}{_braced(now.attributes)}"
    if now.raised:
        often = "; it was raised often of late, so it must be clear for 10 minutes" if change.flapping else ""
        return f"{now.alert}: {series} is {now.value:g} ({_condition(change.rule)}){often}"
    lasted = f" after {duration(now.since - before.since)}" if before and now.since >= before.since else ""
    return f"{now.alert}: cleared{lasted}, {now.why or f'{series} is {now.value:g}'}"


def _condition(rule: Rule) -> str:
    return f"{rule.raised} for {duration(rule.for_seconds)}" if rule.for_seconds else str(rule.raised)
