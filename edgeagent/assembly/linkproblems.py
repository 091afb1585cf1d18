"""What is wrong with a link, in words for people."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from edgeagent.errors import EdgeError
from edgeagent.status import Problem
from edgeagent.times import duration
from edgeagent.trust import creds

__all__ = ["expired", "refused"]


def refused(what: str, error: EdgeError) -> Problem:
    """The hub was reached, and does not keep what it was sent."""
    return Problem(
        f"the hub is reached, but does not keep this device's {what}: {error.why}",
        "a report that is too large has too many or too long labels; for the rest ask whoever runs the hub (`edgeagent hub status`)",
    )


def expired(path: Path) -> Problem | None:
    """What is wrong with the credentials as they are now; the leaf reads them anew at each dial, and so does this."""
    try:
        expires_at = creds.peek(path).expires_at
    except EdgeError as error:
        return Problem(f"cannot {error.what}: {error.why}", error.remedy)
    ago = 0.0 if expires_at is None else datetime.now(timezone.utc).timestamp() - expires_at
    if ago <= 0:
        return None
    return Problem(
        f"the credentials at {path} expired {duration(ago)} ago",
        "get new ones from whoever runs the hub and put them there; the leaf takes them by itself",
    )
