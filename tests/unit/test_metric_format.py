"""Samples as other programs read them: what is written is read back by the libraries of others."""

from __future__ import annotations

import csv
import io
import json

import pytest
from line_protocol_parser import parse_line

from edgeagent.fleet.metricformat import CSV_HEAD, FORMATS, csv_lines, influx_lines, ndjson_lines, record
from edgeagent.fleet.metricpoints import Measured, Series

TIME_MS = 1795281475681
PLAIN = Measured(Series("pi-01", "agent", "system.disk.io", (("system.device", "sda"),), "By", "counter"), 4096, TIME_MS)
ODD = 'a "quoted", =text\nwith \\ and \u202e ü'
GUESS = Measured(Series("pi-02", ODD, "kitchen.temperature", (("room", ODD),)), -0.5, TIME_MS + 1, estimated=True)


def test_ndjson() -> None:
    first, second = map(json.loads, ndjson_lines([PLAIN, GUESS]).splitlines())
    assert first == {
        "device": "pi-01",
        "source": "agent",
        "time": "2026-11-21T17:17:55.681Z",
        "metric": "system.disk.io",
        "value": 4096,
        "attributes": {"system.device": "sda"},
        "unit": "By",
        "kind": "counter",
    }
    assert second["source"] == second["attributes"]["room"] == ODD and second["estimated"] is True and "unit" not in second


@pytest.mark.parametrize("point", [PLAIN, GUESS, PLAIN._replace(value=1e300), PLAIN._replace(estimated=True)])
def test_a_line_is_the_record(point: Measured) -> None:
    assert list(json.loads(ndjson_lines([point])).items()) == list(record(point).items())


def test_csv() -> None:
    first, second = csv.DictReader(io.StringIO(CSV_HEAD + csv_lines([PLAIN, GUESS])))
    assert first == {
        "time": "2026-11-21T17:17:55.681Z",
        "device": "pi-01",
        "source": "agent",
        "metric": "system.disk.io",
        "value": "4096",
        "unit": "By",
        "attributes": '{"system.device": "sda"}',
        "estimated": "",
    }
    assert second["source"] == ODD and json.loads(second["attributes"]) == {"room": ODD} and second["estimated"] == "yes"


def test_line_protocol() -> None:
    (line,) = influx_lines([PLAIN]).splitlines()
    assert line == "system.disk.io,device=pi-01,source=agent,system.device=sda value=4096.0 1795281475681000000"
    assert parse_line(line) == {
        "measurement": "system.disk.io",
        "tags": {"device": "pi-01", "source": "agent", "system.device": "sda"},
        "fields": {"value": 4096.0},
        "time": TIME_MS * 1_000_000,
    }


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a b", "a b"),
        ("a,b=c", "a,b=c"),
        ('"x"', '"x"'),
        ("line\nbreak\r\x00", "line break  "),
        ("C:\\dir\\", "C:\\dir"),
        ("ü\u202e", "ü\u202e"),
        (ODD, ODD.replace("\n", " ")),
    ],
    ids=["blank", "signs", "quotes", "control", "backslash", "unicode", "all"],
)
def test_odd_tags_come_back(text: str, read: str) -> None:
    lines = influx_lines([Measured(Series("pi-01", text, "m", (("k", text), (text, "v"))), 1, 1)])
    assert lines.count("\n") == 1
    found = parse_line(lines.rstrip("\n"))
    assert found["tags"] == {"device": "pi-01", "source": read, "k": read, read: "v"}


def test_attributes_that_have_our_names_or_nothing_do_not_spoil_a_line() -> None:
    series = Series("pi-01", "agent", "m", (("", "x"), ("device", "sda"), ("empty", ""), ("source", "x")))
    found = parse_line(influx_lines([Measured(series, 1e300, 1)]).rstrip("\n"))
    assert found["tags"] == {"device": "pi-01", "source": "agent", "attribute.device": "sda", "attribute.source": "x"}
    assert found["fields"] == {"value": 1e300}


def test_every_format_can_be_named() -> None:
    assert [head for head, _ in FORMATS.values()] == ["", CSV_HEAD, ""] and list(FORMATS) == ["ndjson", "csv", "influx"]
