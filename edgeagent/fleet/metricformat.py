"""Samples as other programs read them: JSON lines, CSV, InfluxDB's line protocol. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

from edgeagent.fleet.metricpoints import Measured, Series
from edgeagent.times import moment, rfc3339

__all__ = ["CSV_HEAD", "FORMATS", "Format", "csv_lines", "influx_lines", "ndjson_lines", "record", "time_text"]

#: What is written around the samples of one series; what is not needed is empty.
_Frame = tuple[str, str, str]
Format = Literal["ndjson", "csv", "influx"]
CSV_HEAD = "time,device,source,metric,value,unit,attributes,estimated\n"
#: What line protocol cannot hold in names and tags.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol: what has a backslash before it in a measurement, and in a tag.
_IN_MEASUREMENT, _IN_TAG = re.compile(r"([, ])"), re.compile(r"([,= ])")
#: Tags of our own; an attribute of such a name gets another.
_OWN_TAGS = ("device", "source")
_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=4096)
def time_text(time_ms: int) -> str:
    """RFC 3339 with milliseconds, UTC. Many samples have the same."""
    return rfc3339(moment(time_ms / 1000))


def record(point: Measured) -> dict[str, Any]:
    """One sample for JSON."""
    series = point.series
    found: dict[str, Any] = {
        "device": series.device,
        "source": series.source,
        "time": time_text(point.time_ms),
        "metric": series.metric,
        "value": point.value,
        "attributes": dict(series.attributes),
    }
    found |= {"unit": series.unit} if series.unit else {}
    found |= {"kind": series.kind} if series.kind else {}
    return found | ({"estimated": True} if point.estimated else {})


def _frames(points: Sequence[Measured], frame: Callable[[Series], _Frame]) -> Iterator[tuple[_Frame, Measured]]:
    """Each sample with what is written around the samples of its series, which is made once."""
    known: dict[Series, _Frame] = {}
    for point in points:
        found = known.get(point.series)
        if found is None:
            found = known[point.series] = frame(point.series)
        yield found, point


def ndjson_lines(points: Sequence[Measured]) -> str:
    """One JSON object a line, as :func:`record` has it."""
    lines = []
    for (before, between, after), point in _frames(points, _in_json):
        end = ',"estimated":true}\n' if point.estimated else "}\n"
        lines.append(f"{before}{time_text(point.time_ms)}{between}{point.value!r}{after}{end}")
    return "".join(lines)


def _in_json(series: Series) -> _Frame:
    """What is before the time, between it and the value, and after that, of an object with one each."""
    text = _encode({**record(Measured(series, 0, 0)), "time": "", "value": 0}).decode()
    before, between = (
        f'{{"device":{_text(series.device)},"source":{_text(series.source)},"time":"',
        f'","metric":{_text(series.metric)},"value":',
    )
    return before, between, text[len(before) + len(between) + 1 : -1]


def _text(value: str) -> str:
    return _encode(value).decode()


def csv_lines(points: Sequence[Measured]) -> str:
    """Lines of CSV (RFC 4180, but for the ends of lines); :data:`CSV_HEAD` comes before the first. Attributes are a JSON object."""
    return "".join(
        f"{time_text(point.time_ms)},{before}{point.value!r}{after}{'yes' if point.estimated else ''}\n"
        for (before, after, _), point in _frames(points, _in_csv)
    )


def _in_csv(series: Series) -> _Frame:
    """What is between the time and the value, and after that."""
    attributes = json.dumps(dict(series.attributes), ensure_ascii=False) if series.attributes else ""
    before, after = _cells(series.device, series.source, series.metric, ""), _cells("", series.unit, attributes, "")
    return before, after, ""


def _cells(*values: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def influx_lines(points: Sequence[Measured]) -> str:
    """Line protocol: the metric is the measurement, device, source and attributes are tags, the one field is ``value``, in nanoseconds.

    Every value is a float, for InfluxDB refuses a field that is sometimes an integer. An attribute called device or source becomes
    ``attribute.device``; control characters become blanks, and a backslash at the end of a tag, which nothing can escape, is left out.
    """
    return "".join(
        f"{before}{float(point.value)!r} {point.time_ms}000000\n" for (before, _, _), point in _frames(points, _in_influx)
    )


def _in_influx(series: Series) -> _Frame:
    """What is before the value."""
    tags = {"device": series.device, "source": series.source}
    tags |= {f"attribute.{key}" if key in _OWN_TAGS else key: value for key, value in series.attributes}
    written = "".join(
        f",{name}={text}"
        for key, value in sorted(tags.items())
        if (name := _escaped(key, _IN_TAG)) and (text := _escaped(value, _IN_TAG))
    )
    return f"{_escaped(series.metric, _IN_MEASUREMENT)}{written} value=", "", ""


def _escaped(text: str, special: re.Pattern[str]) -> str:
    return special.sub(r"\\\1", _CONTROL.sub(" ", text).rstrip("\\"))


#: By name: what is written before the first sample, and how samples are.
FORMATS: dict[Format, tuple[str, Callable[[Sequence[Measured]], str]]] = {
    "ndjson": ("", ndjson_lines),
    "csv": (CSV_HEAD, csv_lines),
    "influx": ("", influx_lines),
}
