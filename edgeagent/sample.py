"""Samples: one measured value each, and how programs on a device write them (subject ``local.metric.<source>``). Pure.

Names and units are OpenTelemetry's where it has some (``system.cpu.utilization``, ``By``, ``Cel``: UCUM), and what a program calls
its own otherwise. A payload is one of

* a number: ``21.5``
* a flat JSON object: numbers and booleans are samples, texts are attributes of all of them, ``time`` says when
* ``{"samples": [...]}``: many samples, each with everything that :class:`Sample` has
* lines of InfluxDB's line protocol: tags are attributes, fields are samples, texts among them are left out
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from edgeagent.errors import UsageProblem
from edgeagent.times import parse_rfc3339

__all__ = ["COUNTER", "MAX_PAYLOAD_BYTES", "MAX_UNIT", "Sample", "encode_samples", "metric_of", "parse", "source_of", "tolerated"]

#: What a message of samples may have in bytes: it must go into one chunk (:mod:`edgeagent.chunk`) with room for more.
MAX_PAYLOAD_BYTES = 32 << 10
#: Bounds of one sample, in characters and in number. That of a unit is OpenTelemetry's (63, "Instrument unit").
MAX_NAME, MAX_ATTRIBUTES, MAX_ATTRIBUTE, MAX_UNIT = 200, 16, 200, 63
#: The kind of a value that only grows, but for restarts (OpenTelemetry's monotonic Sum); the empty kind is any other: a gauge.
COUNTER = "counter"
#: The prefix of the subjects, in tokens.
_LOCAL = ("local", "metric")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*\Z")
_WHAT = "read samples"
#: Integers leave what other readers of JSON hold beyond this; so does infinity.
_MAX_INTEGER, _MAX_NUMBER = 1 << 63, math.inf
_NANOSECONDS = 1_000_000_000


@lru_cache(maxsize=1024)
def _is_name(text: str) -> bool:
    """Names are few, and met thousands of times when a backlog is sent."""
    return len(text) <= MAX_NAME and _NAME.match(text) is not None


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """metric: dotted name. value: a finite number. attributes: what tells apart what is measured (``{"system.device": "sda"}``).
    time: when it was measured, Unix time in seconds; 0: when its message was stored. unit: UCUM. kind: "" or ``counter``."""

    metric: str
    value: float | int
    attributes: dict[str, str] = {}
    time: float = 0.0
    unit: str = ""
    kind: str = ""

    def __post_init__(self) -> None:
        if not _is_name(self.metric):
            raise ValueError(
                f"{self.metric[:MAX_NAME]!r} is no name of a metric: letters, digits and _ . : / -, at most {MAX_NAME}"
            )
        if (
            isinstance(self.value, bool)
            or not abs(self.value) < _MAX_NUMBER
            or (isinstance(self.value, int) and abs(self.value) >= _MAX_INTEGER)
        ):
            raise ValueError(f"{self.metric} = {self.value} is no number that can be stored")
        if self.attributes and (
            len(self.attributes) > MAX_ATTRIBUTES
            or any(len(text) > MAX_ATTRIBUTE for pair in self.attributes.items() for text in pair)
        ):
            raise ValueError(f"{self.metric} has more than {MAX_ATTRIBUTES} attributes, or one over {MAX_ATTRIBUTE} characters")
        if not 0 <= self.time < 1 << 34:
            raise ValueError(f"{self.metric} has the time {self.time}, which is none")
        if len(self.unit) > MAX_UNIT:
            raise ValueError(f"{self.metric} has a unit of more than {MAX_UNIT} characters")
        if self.kind not in ("", COUNTER):
            raise ValueError(f"{self.metric} is of the kind {self.kind[:MAX_UNIT]!r}: there is {COUNTER}, and none for any other")


def tolerated(unit: str, kind: str) -> tuple[str, str]:
    """What to take for a sample's unit and kind where its value counts more: a unit that is too long is cut, an unknown kind is none."""
    return unit[:MAX_UNIT], kind if kind == COUNTER else ""


class _Batch(msgspec.Struct):
    samples: list[Sample]


def encode_samples(samples: list[Sample]) -> bytes:
    """A payload of many samples."""
    return msgspec.json.encode(_Batch(samples))


def source_of(subject: str) -> str:
    """Who measured it: the first token after ``local.metric.``. Raises UsageProblem for another subject."""
    return _tokens(subject)[0]


@lru_cache(maxsize=256)
def metric_of(subject: str) -> str:
    """What a lone number on ``subject`` is called: everything after ``local.metric.``; names of JSON's keys come after it."""
    return ".".join(_tokens(subject))


@lru_cache(maxsize=256)
def _tokens(subject: str) -> tuple[str, ...]:
    tokens = tuple(subject.split("."))
    if tokens[:2] != _LOCAL or len(tokens) < 3:
        raise UsageProblem(_WHAT, f"{subject} is no subject of samples", "publish to local.metric.<source>")
    return tokens[2:]


def parse(subject: str, payload: bytes) -> list[Sample]:
    """The samples in one message. Raises UsageProblem, which says what is wrong with it, for the whole message."""
    prefix = metric_of(subject)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise UsageProblem(_WHAT, f"{len(payload)} bytes are too many", f"send at most {MAX_PAYLOAD_BYTES} in one message")
    try:
        text = payload.decode().strip()
        found = list(_samples(prefix, text))
    # UnicodeDecodeError and msgspec's are ValueErrors too; an integer may be larger than any float.
    except (ValueError, OverflowError, RecursionError) as error:
        raise UsageProblem(_WHAT, str(error), "send a number, a flat JSON object or line protocol") from None
    if not found:
        raise UsageProblem(_WHAT, "there is no number in it", "send a number, a flat JSON object or line protocol")
    return found


def _samples(prefix: str, text: str) -> Iterator[Sample]:
    if text.startswith("{"):
        table = msgspec.json.decode(text)
        if isinstance(table.get("samples"), list):
            yield from msgspec.convert(table, _Batch).samples
        else:
            yield from _of_table(prefix, table)
        return
    number = _number(text)
    if number is not None:
        yield Sample(prefix, number)
    else:
        yield from _of_lines(text)


def _number(text: str) -> float | int | None:
    """A number as JSON writes it, ``true`` and ``false`` as 1 and 0; None for anything else."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, (int, float)) else None


def _of_table(prefix: str, table: Mapping[str, Any]) -> Iterator[Sample]:
    moment, attributes = 0.0, {}
    for key, value in table.items():
        if key == "time":
            moment = _time(value)
        elif isinstance(value, str):
            attributes[key] = value
        elif value is not None and not isinstance(value, (int, float)):
            raise ValueError(f"{key} is neither a number nor a text: the object must be flat")
    for key, value in table.items():
        if key != "time" and isinstance(value, (int, float)):
            yield Sample(f"{prefix}.{key}", int(value) if isinstance(value, bool) else value, attributes, moment)


def _time(value: Any) -> float:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return parse_rfc3339(value).timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        shown = f" = {value[:40]!r}" if isinstance(value, str) else ""
        raise ValueError(f"time{shown} is neither Unix time in seconds nor a text such as 2026-11-21T10:00:00Z")
    return float(value)


def _of_lines(text: str) -> Iterator[Sample]:
    from line_protocol_parser import LineFormatError, parse_line

    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        try:
            point = parse_line(line)
        except LineFormatError as error:
            raise ValueError(f"line {number} is no line protocol: {str(error).rstrip('.')}") from None
        for field, value in point["fields"].items():
            if isinstance(value, (int, float)):
                name = point["measurement"] if field == "value" else f"{point['measurement']}.{field}"
                moment = (point["time"] or 0) / _NANOSECONDS
                yield Sample(name, int(value) if isinstance(value, bool) else value, dict(point["tags"]), moment)
