"""Values with their units, as people read them in tables and plots; JSON and CSV have the numbers as they are. Pure."""

from __future__ import annotations

from edgeagent.cli.harmless import harmless
from edgeagent.cli.table import plain

__all__ = ["quantity", "quantity_range"]

#: Of UCUM (ucum.org), the signs that read otherwise.
_SIGNS = {"Cel": "°C", "Ohm": "Ω", "deg": "°"}
_PREFIXES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def quantity(value: float | int, unit: str = "", metric: str = "") -> str:
    """``17.2 GiB``, ``99.9 %``, ``1.5 MiB/s``, ``48.3 °C``.

    unit: UCUM. metric: its name: a ratio is what ends in ``.utilization`` and has the unit 1, as OpenTelemetry's conventions name it.
    """
    base, slash, per = unit.partition("/")
    if base == "By":
        return _bytes(value) + slash + harmless(per)
    if unit == "1" and metric.endswith(".utilization"):
        return f"{_number(value * 100, 3)} %"
    shown = harmless(_SIGNS.get(base, base.strip("{}")) + slash + per)
    return f"{_number(value)} {shown}" if unit not in ("", "1") else _number(value)


def quantity_range(lowest: float | int, highest: float | int, unit: str = "", metric: str = "") -> str:
    """``0.5 to 0.7``; one value where both read the same."""
    low, high = quantity(lowest, unit, metric), quantity(highest, unit, metric)
    return low if low == high else f"{low} to {high}"


def _bytes(value: float | int) -> str:
    size, place = float(value), 0
    while abs(size) >= 999.5 and place < len(_PREFIXES) - 1:  # 1000 would have four digits
        size, place = size / 1024, place + 1
    return f"{_number(size, 3)} {_PREFIXES[place]}"


def _number(value: float | int, digits: int = 4) -> str:
    """Whole numbers whole, the rest with so many digits that count."""
    if isinstance(value, int):
        return plain(value)
    return f"{value:.{digits}g}" if abs(value) < 999.5 else plain(value)
