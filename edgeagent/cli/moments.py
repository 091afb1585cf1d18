"""``--since 1h``, ``--until 2026-11-21T10:00``: a moment on a command line."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import typer

from edgeagent.cli.cmd_options import seconds

__all__ = ["parse"]

#: Before 1971 nothing was stored, and a calendar has its bounds too.
MAX_SECONDS = 50 * 365 * 86_400
_REMEDY = "write 30s, 30m, 1h30m or 7d for how long ago, or a time such as 2026-11-21, 2026-11-21T10:00 or 2026-11-21T09:00Z"


def parse(text: str) -> datetime | timedelta:
    """How long ago, or a time; without a zone it is of this machine's. Raises typer.BadParameter, which names the option and exits with 2."""
    text = text.strip()
    if text[:4].isdecimal() and text[4:5] == "-":
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
            if moment.astimezone(timezone.utc).year >= 1971:
                return moment
        except (ValueError, OverflowError):
            pass
        raise typer.BadParameter(f"{text!r} is no time: {_REMEDY}")
    try:
        found = seconds(text)
    except typer.BadParameter:
        raise typer.BadParameter(f"{text!r} is no time: {_REMEDY}") from None
    if found > MAX_SECONDS:
        raise typer.BadParameter(f"{text!r} is longer ago than anything that was stored")
    return timedelta(seconds=found)
