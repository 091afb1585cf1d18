"""Reading the end of a log file that another process writes and may rotate."""

from __future__ import annotations

from pathlib import Path

__all__ = ["end", "last_lines", "since"]

#: The most that is read of a log at once, in bytes.
MAX_BYTES = 64 << 10


def end(path: Path) -> int:
    """How long the log is now, in bytes; 0 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def since(path: Path, position: int) -> str:
    """What the log got after it was ``position`` bytes long (its last 64 KiB at most).

    A log shorter than that was rotated or removed in between, so all of it is new.
    """
    size = end(path)
    begin = position if position <= size else 0
    try:
        with path.open("rb") as log:
            log.seek(max(begin, size - MAX_BYTES))
            return log.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def last_lines(path: Path, count: int) -> list[str]:
    """The log's last lines that say something, at most ``count``."""
    return [line.rstrip() for line in since(path, 0).splitlines() if line.strip()][-count:]
