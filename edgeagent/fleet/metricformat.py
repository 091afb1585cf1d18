"""Samples as other programs read them: JSON lines, CSV, InfluxDB's line protocol. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from edgeagent.fleet.metricpoints import Measured
from edgeagent.times import moment, rfc3339

__all__ = ["CSV_HEAD", "FORMATS", "Format", "csv_lines", "influx_lines", "ndjson_lines", "record", "time_text"]

Format = Literal["ndjson", "csv", "influx"]
CSV_HEAD = "time,device,source,metric,value,unit,attributes,estimated\n"
#: What line protocol cannot hold in names and tags.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol: what has a backslash before it in a measurement, and in a tag.
_IN_MEASUREMENT, _IN_TAG = re.compile(r"([, ])"), re.compile(r"([,= ])")
#: Tags of our own; an attribute of such a name gets another.
_OWN_TAGS = ("device", "source")
_encode = msgspec.json.Encoder().encode


def time_text(time_ms: int) -> str:
    """RFC 3339 with milliseconds, UTC."""
    return rfc3339(moment(time_ms / 1000))


def ndjson_lines(points: Iterable[Measured]) -> str:
    """One JSON object a line."""
    return "".join(f"{_encode(record(point)).decode()}\n" for point in points)


def record(point: Measured) -> dict[str, object]:
    """One sample for JSON."""
    sample = point.sample
    found: dict[str, object] = {
        "device": point.device,
        "source": point.source,
        "time": time_text(point.time_ms),
        "metric": sample.metric,
        "value": sample.value,
        "attributes": sample.attributes,
    }
    found |= {"unit": sample.unit} if sample.unit else {}
    found |= {"kind": sample.kind} if sample.kind else {}
    return found | ({"estimated": True} if point.estimated else {})


def csv_lines(points: Iterable[Measured]) -> str:
    """Lines of CSV (RFC 4180, but for the ends of lines); :data:`CSV_HEAD` comes before the first. Attributes are a JSON object."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for point in points:
        sample = point.sample
        attributes = json.dumps(sample.attributes, ensure_ascii=False) if sample.attributes else ""
        estimated = "yes" if point.estimated else ""
        cells = (time_text(point.time_ms), point.device, point.source, sample.metric, sample.value, sample.unit, attributes)
        writer.writerow((*cells, estimated))
    return text.getvalue()


def influx_lines(points: Iterable[Measured]) -> str:
    """Line protocol: the metric is the measurement, device, source and attributes are tags, the one field is ``value``, in nanoseconds.

    Every value is a float, for InfluxDB refuses a field that is sometimes an integer. An attribute called device or source becomes
    ``attribute.device``; control characters become blanks, and a backslash at the end of a tag, which nothing can escape, is left out.
    """
    return "".join(_influx(point) for point in points)


def _influx(point: Measured) -> str:
    sample = point.sample
    tags = {"device": point.device, "source": point.source}
    tags |= {f"attribute.{key}" if key in _OWN_TAGS else key: value for key, value in sample.attributes.items()}
    written = "".join(
        f",{name}={text}"
        for key, value in sorted(tags.items())
        if (name := _escaped(key, _IN_TAG)) and (text := _escaped(value, _IN_TAG))
    )
    return f"{_escaped(sample.metric, _IN_MEASUREMENT)}{written} value={float(sample.value)!r} {point.time_ms}000000\n"


def _escaped(text: str, special: re.Pattern[str]) -> str:
    return special.sub(r"\\\1", _CONTROL.sub(" ", text).rstrip("\\"))


#: By name: what is written before the first sample, and how samples are.
FORMATS: dict[Format, tuple[str, Callable[[Iterable[Measured]], str]]] = {
    "ndjson": ("", ndjson_lines),
    "csv": (CSV_HEAD, csv_lines),
    "influx": ("", influx_lines),
}
