"""InfluxDB's line protocol, written: one line a sample, ``<metric>,device=…,source=…,<attributes> value=<number> <milliseconds>``. Pure.

Metrics and attributes keep their own names. Escaping is that of InfluxDB's page "Line protocol"; what cannot be escaped there is
replaced: a backslash by ``/`` (before a comma it would be read as its escape), control characters by ``_``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from edgeagent.chunk import Point
from edgeagent.hub.exportsettings import InfluxOptions

__all__ = ["body", "line", "lost", "write_url"]

#: What versions 1 (tried: 1.6) and 2 (http/write_handler.go) say where they took some lines and not others, each as one JSON object. Names
#: in it come from devices, so only what stands before and after them counts.
_PARTIAL = re.compile(
    r'\{"(error":"|code":"[a-z ]+", ?"message":"failure writing points to database: )partial write: (?!unable to parse)'
    r'.* dropped=(\d{1,9})( for database: [^" ]+ for retention policy: [^" ]+)?"\}'
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
#: Tags that are ours, and names that InfluxDB keeps for itself.
_TAKEN = frozenset({"device", "source", "time", "value"})


def write_url(options: InfluxOptions) -> str:
    """Where version 2 (``/api/v2/write``) or version 1 (``/write``) takes lines."""
    base = options.url.rstrip("/")
    if options.bucket:
        return f"{base}/api/v2/write?{urlencode({'org': options.org, 'bucket': options.bucket, 'precision': 'ms'})}"
    return f"{base}/write?{urlencode({'db': options.database, 'precision': 'ms'})}"


def lost(status: int, said: str) -> int | None:
    """How many lines of a request were not taken, if all others were; None: that is not known."""
    found = _PARTIAL.fullmatch(said) if status in (400, 422) else None
    return int(found[2]) if found else None


def body(points: Iterable[tuple[str, Point]]) -> bytes:
    """points: the device and what it measured; sorted by time, as InfluxDB likes it."""
    return "\n".join(line(device, point) for device, point in sorted(points, key=lambda pair: pair[1].time_ms)).encode()


def line(device: str, point: Point) -> str:
    """One sample. Every number is a float: a field that was an integer once refuses floats for ever."""
    tags = _tags(point.sample.attributes) | {"device": device, "source": point.source}
    tail = "".join(f",{_escaped(key)}={_escaped(text)}" for key, text in sorted(tags.items()))
    return f"{_escaped(point.sample.metric)}{tail} value={float(point.sample.value)!r} {point.time_ms}"


def _tags(attributes: Mapping[str, str]) -> dict[str, str]:
    """None twice: version 2 takes that for malformed. Two that become the same are joined by ``;``, as in Prometheus."""
    found: dict[str, str] = {}
    for key, text in sorted(attributes.items()):
        if key and text:
            name = _clean(key)
            name = f"exported_{name}" if name in _TAKEN or name.startswith("_") else name
            found[name] = f"{found[name]};{text}" if name in found else text
    return found


def _escaped(text: str) -> str:
    return re.sub(r"([,= ])", r"\\\1", _clean(text))


def _clean(text: str) -> str:
    return _CONTROL.sub("_", text).replace("\\", "/")
