"""Samples out of the lines that a microcontroller prints: JSON, line protocol, or whatever a regular expression finds. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgeagent.sample import Sample, parse
from edgeagent.serialsettings import SerialMcu, compiled

__all__ = ["MAX_MATCHED", "reader"]

#: The longest line that an expression is tried at, in characters. The time for one without nested repetitions
#: (:func:`edgeagent.serialsettings.compiled`) grows with a power of it.
MAX_MATCHED = 256
#: What the subject of these samples begins with: their names do too.
_PREFIX = "mcu"
_SUBJECT = f"local.metric.{_PREFIX}"

#: Gives the samples of a line that came at so many Unix seconds; None: it has none, and is one of the log.
Reader = Callable[[str, float], "list[Sample] | None"]


def reader(mcu: SerialMcu) -> Reader:
    """What reads the lines of ``mcu``."""
    if mcu.format == "regex":
        pattern = compiled(mcu.pattern)

        def read(line: str, now: float) -> list[Sample] | None:
            found = pattern.search(line) if len(line) <= MAX_MATCHED else None
            return _guarded(lambda: _of_groups(found.groupdict(), now)) if found else None

        return read
    is_json = mcu.format == "json"
    return lambda line, now: _guarded(lambda: _of_text(line, now)) if _is_json(line) == is_json else None


def _guarded(samples: Callable[[], list[Sample]]) -> list[Sample] | None:
    try:
        return samples() or None
    except (ValueError, OverflowError):  # UsageProblem is one
        return None


def _is_json(line: str) -> bool:
    """Whether it is an object or a number: no line protocol is, for it has a space."""
    return line.lstrip().startswith("{") or _number(line) is not None


def _number(text: str) -> float | int | None:
    """As it is printed: also ``+1.5``, ``.5`` and ``007``, unlike in JSON."""
    text = text.strip()
    if not text or text.strip("+-.0123456789eE"):
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _of_groups(groups: dict[str, str | None], now: float) -> list[Sample]:
    numbers = {name: number for name, text in groups.items() if text is not None and (number := _number(text)) is not None}
    texts = {name: text for name, text in groups.items() if text and name not in numbers}
    return [Sample(f"{_PREFIX}.{name}", number, texts, now) for name, number in numbers.items()]


def _of_text(line: str, now: float) -> list[Sample]:
    number = _number(line)
    if number is not None:
        return [Sample(f"{_PREFIX}.value", number, {}, now)]
    return [_named(sample, now) for sample in parse(_SUBJECT, line.encode())]


def _named(sample: Sample, now: float) -> Sample:
    """As all samples of microcontrollers: their names begin so, and they have a time."""
    name = sample.metric if sample.metric.startswith(f"{_PREFIX}.") else f"{_PREFIX}.{sample.metric}"
    return msgspec.structs.replace(sample, metric=name, time=sample.time or now)
