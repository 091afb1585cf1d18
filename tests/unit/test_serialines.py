"""Samples out of lines that a microcontroller prints."""

from __future__ import annotations

import pytest

from edgeagent.bridge.serialines import MAX_MATCHED, reader
from edgeagent.sample import Sample
from edgeagent.serialsettings import SerialMcu

NOW = 1_790_000_000.0


def lines(form: str, pattern: str = "") -> SerialMcu:
    return SerialMcu(port="/dev/ttyAMA0", mode="lines", format=form, pattern=pattern)  # type: ignore[arg-type]


JSON, PROTOCOL = lines("json"), lines("line_protocol")
REGEX = lines("regex", r"(?P<room>\w+): T=(?P<celsius>-?[0-9.]+)(?: H=(?P<humidity>\d+))?")

CASES: dict[str, tuple[SerialMcu, str, list[tuple[str, float, dict[str, str]]] | None]] = {
    "json": (
        JSON,
        '{"celsius": 21.5, "on": true, "room": "hall"}',
        [("mcu.celsius", 21.5, {"room": "hall"}), ("mcu.on", 1, {"room": "hall"})],
    ),
    "number": (JSON, " 21.50\r", [("mcu.value", 21.5, {})]),
    "number as C prints it": (JSON, "007", [("mcu.value", 7, {})]),
    "not a number": (JSON, "nan", None),
    "infinite": (JSON, "1e999", None),
    "text": (JSON, "starting ...", None),
    "nested": (JSON, '{"a": {"b": 1}}', None),
    "torn": (JSON, '{"celsius": 21.', None),
    "no number in it": (JSON, '{"room": "hall"}', None),
    "protocol in json": (JSON, "weather t=1", None),
    "protocol": (PROTOCOL, "weather,room=hall t=21.5,on=t", [("mcu.weather.t", 21.5, {"room": "hall"}), ("mcu.weather.on", 1, {"room": "hall"})]),
    "json in protocol": (PROTOCOL, '{"a": 1}', None),
    "number in protocol": (PROTOCOL, "21.5", None),
    "text in protocol": (PROTOCOL, "starting ...", None),
    "regex": (REGEX, "hall: T=-3.5 H=40", [("mcu.celsius", -3.5, {"room": "hall"}), ("mcu.humidity", 40, {"room": "hall"})]),
    "optional group": (REGEX, "hall: T=4", [("mcu.celsius", 4, {"room": "hall"})]),
    "no match": (REGEX, "starting ...", None),
    "too long a line": (REGEX, "hall: T=4" + " " * MAX_MATCHED, None),
}  # fmt: skip


@pytest.mark.parametrize(("mcu", "line", "expected"), CASES.values(), ids=CASES.keys())
def test_lines(mcu: SerialMcu, line: str, expected: list[tuple[str, float, dict[str, str]]] | None) -> None:
    found = reader(mcu)(line, NOW)
    wanted = None if expected is None else [Sample(name, value, words, NOW) for name, value, words in expected]
    assert (found and sorted(found, key=str)) == (wanted and sorted(wanted, key=str))


def test_a_line_that_says_when_is_believed() -> None:
    assert reader(JSON)('{"a": 1, "time": 1700000000}', NOW) == [Sample("mcu.a", 1, {}, 1_700_000_000.0)]
    assert reader(PROTOCOL)("m v=1 1700000000000000000", NOW) == [Sample("mcu.m.v", 1, {}, 1_700_000_000.0)]


def test_an_expression_ends_at_the_worst_line() -> None:
    """Three open repetitions one after the other: the third power of 256 characters, some seconds on a small Pi, not for ever."""
    mcu = lines("regex", r"(?P<a>x*)x*y")
    assert reader(mcu)("x" * MAX_MATCHED, NOW) is None
