"""What samples are called in Prometheus, by OpenTelemetry's rules (specification, "Prometheus and OpenMetrics Compatibility"). Pure.

Names come from devices, and anybody may call a sample anything: what comes out is always a name that Prometheus takes, and never one
of the hub's own or of Prometheus' own.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from edgeagent.sample import COUNTER, Sample

__all__ = ["OWN", "Labels", "Series", "labels_of", "name_of", "series_of"]

#: What the names of the hub's own families begin with. A device's sample of such a name gets ``reported_`` before it.
OWN = ("edgeagent_device_", "edgeagent_hub_")
#: Series that Prometheus itself makes, so that rules about them are not deceived.
_RESERVED = re.compile(r"up\Z|scrape_|ALERTS")
_REPORTED = "reported_"
#: A unit with more characters is none: it would be in every name, and the names are remembered.
MAX_UNIT = 63

#: UCUM to Prometheus' base units (the same table as in the specification, and what our own collectors use).
_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds",
    "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "TiBy": "tibibytes",
    "kBy": "kilobytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes", "bit": "bits",
    "m": "meters", "km": "kilometers", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Pa": "pascals",
    "Cel": "celsius", "Hz": "hertz", "%": "percent", "deg": "degrees", "lx": "lux", "[ppm]": "ppm", "dBm": "dbm",
}  # fmt: skip
_PER = {"s": "second", "min": "minute", "h": "hour", "d": "day", "m": "meter"}

Labels = tuple[tuple[str, str], ...]


class Series(NamedTuple):
    """One series. name: as in Prometheus. labels: sorted by name; device and source are among them. counter: it only grows."""

    name: str
    labels: Labels
    counter: bool = False


def series_of(device: str, source: str, sample: Sample) -> Series:
    """The series that a sample belongs to."""
    counter = sample.kind == COUNTER
    unit = sample.unit if len(sample.unit) <= MAX_UNIT else ""
    return Series(name_of(sample.metric, unit, COUNTER if counter else ""), labels_of(device, source, sample.attributes), counter)


@lru_cache(4096)
def name_of(metric: str, unit: str, kind: str) -> str:
    """``system.memory.usage`` in ``By`` is ``system_memory_usage_bytes``."""
    words = [word for word in re.split(r"[^A-Za-z0-9:]+", metric) if word] or ["sample"]
    counter = kind == COUNTER
    if counter and len(words) > 1 and words[-1] == "total":
        words.pop()
    for word in _unit_words(unit, counter):
        if word not in words:
            words.append(word)
    name = "_".join([*words, *(["total"] if counter else [])])
    if name[0].isdigit():
        name = f"_{name}"
    return f"{_REPORTED}{name}" if name.startswith(OWN) or _RESERVED.match(name) else name


def _unit_words(unit: str, counter: bool) -> list[str]:
    """``By/s``: bytes per second. Annotations in braces are words for people and count for nothing."""
    unit = re.sub(r"\{[^}]*\}", "", unit)
    if unit == "1":
        return [] if counter else ["ratio"]
    above, slash, below = unit.partition("/")
    words = [_unit(above, _UNITS)] if above else []
    if slash and below:
        words.append(f"per_{_unit(below, _PER)}")
    return [word for word in words if word]


def _unit(unit: str, table: dict[str, str]) -> str:
    return table.get(unit, re.sub(r"[^A-Za-z0-9]+", "_", unit).strip("_"))


def labels_of(device: str, source: str, attributes: dict[str, str]) -> Labels:
    """An attribute that is called like a label of ours is ``exported_<name>``, as Prometheus does; two that become the same name are
    joined by ``;``. Empty ones are left out: to Prometheus they are none."""
    found: dict[str, str] = {}
    for key in sorted(attributes):
        if attributes[key]:
            name = _label(key)
            found[name] = f"{found[name]};{attributes[key]}" if name in found else attributes[key]
    return tuple(sorted({**found, "device": device, "source": source}.items()))


@lru_cache(4096)
def _label(key: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", key)
    if not name or name[0].isdigit() or name.startswith("__"):
        name = f"key_{name.lstrip('_')}"
    # job and instance are how Prometheus names who was scraped.
    return f"exported_{name}" if name in ("device", "source", "job", "instance", "le", "quantile") else name
