"""``--since`` and ``--until``: how long ago, or a time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
import typer

from edgeagent.cli import moments


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30s", timedelta(seconds=30)),
        ("1h30m", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
        ("2026-11-21T10:00Z", datetime(2026, 11, 21, 10, tzinfo=timezone.utc)),
        ("2026-11-21T10:00+02:00", datetime(2026, 11, 21, 8, tzinfo=timezone.utc)),
        ("2026-11-21T10:00", datetime(2026, 11, 21, 10).astimezone()),
        ("2026-11-21 10:00:01", datetime(2026, 11, 21, 10, 0, 1).astimezone()),
        ("2026-11-21", datetime(2026, 11, 21).astimezone()),
    ],
)
def test_moments(text: str, meant: datetime | timedelta) -> None:
    found = moments.parse(text)
    assert found == meant and (isinstance(found, timedelta) or found.tzinfo is not None)


@pytest.mark.parametrize(
    "text", ["", "h", "1x", "-1h", "0s", "2026", "2026-13-01", "2026-11-21T25:00", "1900-01-01", "0001-01-01", "9999999d"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moments.parse(text)
