"""Prometheus remote write 1.0: a protobuf message of three shapes, compressed as a block of snappy. Pure.

The specification ("Prometheus Remote-Write 1.0") and prometheus' own prompb/remote.proto and types.proto::

    message WriteRequest { repeated TimeSeries timeseries = 1; }
    message TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; }
    message Label        { string name = 1; string value = 2; }
    message Sample       { double value = 1; int64 timestamp = 2; }   // milliseconds

Labels are sorted by name, samples by time, and there is one of each time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from edgeagent.chunk import Point
from edgeagent.hub.exporternames import Labels, series_of

__all__ = ["HEADERS", "Row", "body", "by_device", "encoded", "halves", "rows_of"]

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}

#: A series, its name among the labels, with its samples: (Unix milliseconds, value), by time.
Row = tuple[Labels, list[tuple[int, float]]]


def rows_of(points: Iterable[tuple[str, Point]]) -> list[Row]:
    """points: the device and what it measured. Of two samples of one series and one time the later one counts."""
    found: dict[Labels, dict[int, float]] = {}
    for device, point in points:
        series = series_of(device, point.source, point.sample)
        labels = tuple(sorted([("__name__", series.name), *series.labels]))
        found.setdefault(labels, {})[point.time_ms] = float(point.sample.value)
    return [(labels, sorted(samples.items())) for labels, samples in found.items()]


def by_device(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of each device together."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(dict(row[0])["device"], []).append(row)
    return list(found.values())


def halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]] | None:
    """The rows in two parts, of which none is empty; None for a single sample."""
    if len(rows) > 1:
        middle = len(rows) // 2
        return list(rows[:middle]), list(rows[middle:])
    labels, samples = rows[0]
    if len(samples) == 1:
        return None
    middle = len(samples) // 2
    return [(labels, samples[:middle])], [(labels, samples[middle:])]


def body(rows: Sequence[Row]) -> bytes:
    """What is posted."""
    import cramjam

    return bytes(cramjam.snappy.compress_raw(encoded(rows)))


def encoded(rows: Sequence[Row]) -> bytes:
    """The same, not compressed."""
    return b"".join(_field(1, _series(labels, samples)) for labels, samples in rows)


def _series(labels: Labels, samples: list[tuple[int, float]]) -> bytes:
    parts = [_field(1, _field(1, name.encode()) + _field(2, text.encode())) for name, text in labels]
    # Tag 0x09: field 1, 64 bit. Tag 0x10: field 2, varint; a negative one is its two's complement in 64 bits.
    parts += [_field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(time & (1 << 64) - 1)) for time, value in samples]
    return b"".join(parts)


def _field(number: int, data: bytes) -> bytes:
    """A field of bytes with its length."""
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
