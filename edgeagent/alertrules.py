"""Rules of alerts: what a device tells of its own samples, as one line of text (docs/metrics.md, "Alerts"). Pure.

hw.temperature > 80 for 2m clear < 75 for 5m severity error
system.filesystem.utilization{system.filesystem.mountpoint="/"} > 0.9
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["MAX_RULE", "SEVERITIES", "Condition", "Rule", "parse"]

#: The longest rule, in characters.
MAX_RULE = 500
#: What an alert may be of, as events are (docs/wire.md, "Events"); what is left out is the second.
SEVERITIES = ("info", "warning", "error", "critical")
#: Longer than anybody waits for an alert, in seconds.
MAX_SECONDS = 30 * 86400

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: A text in quotes, a comparison, a bracket, a comma, ``=``, or a word (a name, a number, a time).
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[<>=!]=|[<>{},=]|[A-Za-z0-9_.:/+-]+)')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*\Z")
_TIME = re.compile(r"([0-9]{1,9})([smhd])\Z")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\Z")
_END = ""


@dataclass(frozen=True)
class Condition:
    """``> 80``."""

    comparison: str
    threshold: float

    def holds(self, value: float) -> bool:
        return _COMPARISONS[self.comparison](value, self.threshold)

    def __str__(self) -> str:
        return f"{self.comparison} {self.threshold:g}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """metric: of which samples. attributes: which they must have. raised: when it is raised, after having held for ``for_seconds``.

    cleared: when it is cleared, after having held for ``clear_seconds``; None: as soon as ``raised`` does not hold. severity: of its event.
    """

    metric: str
    raised: Condition
    attributes: Mapping[str, str] = field(default_factory=dict)
    for_seconds: float = 0.0
    cleared: Condition | None = None
    clear_seconds: float = 0.0
    severity: str = "warning"

    def fits(self, metric: str, attributes: Mapping[str, str]) -> bool:
        """Whether it is about such a sample."""
        return metric == self.metric and all(attributes.get(name) == wanted for name, wanted in self.attributes.items())

    def is_clear(self, value: float) -> bool:
        return self.cleared.holds(value) if self.cleared else not self.raised.holds(value)


def parse(text: str) -> Rule:
    """The rule that ``text`` is. Raises ValueError, which says what is wrong with it."""
    if len(text) > MAX_RULE:
        raise ValueError(f"a rule has at most {MAX_RULE} characters")
    words = _Words(text)
    metric, attributes, raised = words.name(), dict(words.attributes()), words.condition()
    for_seconds = words.time() if words.take("for") else 0.0
    cleared, clear_seconds = words.clear() if words.take("clear") else (None, 0.0)
    severity = words.severity() if words.take("severity") else SEVERITIES[1]
    words.end()
    if cleared and _overlap(raised, cleared):
        raise ValueError(f"{raised} and {cleared} can hold at once, so it would be raised and cleared by one value")
    return Rule(
        metric=metric,
        raised=raised,
        attributes=attributes,
        for_seconds=for_seconds,
        cleared=cleared,
        clear_seconds=clear_seconds,
        severity=severity,
    )


def _overlap(raised: Condition, cleared: Condition) -> bool:
    """Whether one value fulfils both: if any does, one does that is a threshold, or just beside or between them."""
    one, other = raised.threshold, cleared.threshold
    near = (one, other, (one + other) / 2, min(one, other) - 1, max(one, other) + 1)
    return any(raised.holds(value) and cleared.holds(value) for value in near)


class _Words:
    """The words of a rule, one after the other. Whatever takes one raises ValueError when it is another."""

    def __init__(self, text: str) -> None:
        self._words, self._at = list(_words(text)), 0

    @property
    def _next(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else _END

    def _any(self) -> str:
        word = self._next
        self._at += 1
        return word

    def _wanted(self, wanted: str) -> ValueError:
        return ValueError(f"{wanted} must stand {f'in place of {self._next}' if self._next else 'at its end'}")

    def take(self, word: str) -> bool:
        """Whether this word is next; it is taken then."""
        found = self._next == word
        self._at += found
        return found

    def name(self) -> str:
        if not _NAME.match(self._next):
            raise self._wanted("the name of a metric" if not self._at else "the name of an attribute")
        return self._any()

    def attributes(self) -> Iterator[tuple[str, str]]:
        if not self.take("{") or self.take("}"):
            return
        while True:
            name = self.name()
            if not self.take("="):
                raise self._wanted(f'="..." after {name}')
            if not self._next.startswith('"'):
                raise self._wanted('a value in "quotes"')
            yield name, re.sub(r"\\(.)", r"\1", self._any()[1:-1])
            if self.take("}"):
                return
            if not self.take(","):
                raise self._wanted("a comma or }")

    def condition(self) -> Condition:
        if self._next not in _COMPARISONS:
            raise self._wanted(f"one of {' '.join(_COMPARISONS)}")
        comparison = self._any()
        if not _NUMBER.match(self._next):
            raise self._wanted(f"a number after {comparison}")
        return Condition(comparison, float(self._any()))

    def time(self) -> float:
        found = _TIME.match(self._next)
        if not found or int(found[1]) * _UNITS[found[2]] > MAX_SECONDS:
            raise self._wanted("a time such as 90s, 2m or 1h, at most 30d,")
        self._at += 1
        return float(int(found[1]) * _UNITS[found[2]])

    def clear(self) -> tuple[Condition | None, float]:
        condition = None if self._next == "for" else self.condition()
        return condition, self.time() if self.take("for") else 0.0

    def severity(self) -> str:
        if self._next not in SEVERITIES:
            raise self._wanted(f"one of {', '.join(SEVERITIES)}")
        return self._any()

    def end(self) -> None:
        if self._next:
            raise ValueError(f"{self._next} makes no sense there: `for`, `clear` and `severity` may follow, in this order")


def _words(text: str) -> Iterator[str]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise ValueError(f"it makes no sense from {text[at:].strip()[:20]!r} on")
        yield found[1]
        at = found.end()
