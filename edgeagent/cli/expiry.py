"""``--expires 30d``: how long credentials are good."""

from __future__ import annotations

import re

import typer

__all__ = ["parse"]

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
#: Longer ones would outlive whoever could say what they are for.
MAX_SECONDS = 3650 * 86_400


def parse(text: str) -> float:
    """``90m``, ``12h``, ``30d`` or ``8w`` in seconds. Raises typer.BadParameter, which names the option and exits with 2."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})([mhdw])", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= MAX_SECONDS:
        raise typer.BadParameter(f"{text!r} is no such time: write 90m, 12h, 30d or 8w; a minute at least, ten years at most")
    return float(seconds)
