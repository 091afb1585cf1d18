"""Times on the wire (RFC 3339, UTC) and as people read them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timezone

__all__ = ["age", "duration", "moment", "parse_rfc3339", "rfc3339"]

#: A day before the last one that ``datetime`` knows, so that it is one in every time zone. Unix seconds.
_LAST = 253_402_214_400


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds and a final Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(seconds: float) -> datetime:
    """Unix seconds as a time. What others wrote may be any number: what is before 1970 or after 9999 is taken as the bound."""
    return datetime.fromtimestamp(min(max(seconds, 86_400), _LAST), timezone.utc)


def parse_rfc3339(text: str) -> datetime:
    """Read what NATS (nanoseconds) or :func:`rfc3339` wrote. Raises ValueError."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.strip())
    moment = datetime.fromisoformat(_six_digits(text.replace("Z", "+00:00")))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _six_digits(text: str) -> str:
    # datetime.fromisoformat of Python 3.10 reads only three or six digits of a second.
    return re.sub(r"\.(\d{1,6})", lambda found: "." + found.group(1).ljust(6, "0"), text)


def duration(seconds: float) -> str:
    """Two units at most: ``45s``, ``3m 20s``, ``2h 5m``, ``12d 4h``."""
    left = max(0, round(seconds))
    days, left = divmod(left, 86400)
    hours, left = divmod(left, 3600)
    minutes, left = divmod(left, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (left, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{value}{unit}" for value, unit in parts[:2] if value or (value, unit) == parts[0])


def age(then: datetime, now: datetime) -> str:
    """``45s ago``, ``3m 20s ago``."""
    return f"{duration((now - then).total_seconds())} ago"
