from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from edgeagent.times import age, duration, moment, parse_rfc3339, rfc3339

UTC = timezone.utc


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T05:04:25Z", datetime(2026, 11, 21, 5, 4, 25, tzinfo=UTC)),
        ("2026-11-21T05:04:25.8Z", datetime(2026, 11, 21, 5, 4, 25, 800_000, tzinfo=UTC)),
        ("2026-11-21T05:04:25.876340715Z", datetime(2026, 11, 21, 5, 4, 25, 876_340, tzinfo=UTC)),
        ("2026-11-21T05:04:25.000000999Z", datetime(2026, 11, 21, 5, 4, 25, tzinfo=UTC)),
        ("2026-11-21T05:04:25.8763407Z", datetime(2026, 11, 21, 5, 4, 25, 876_340, tzinfo=UTC)),
        ("2026-11-21T07:04:25.12+02:00", datetime(2026, 11, 21, 5, 4, 25, 120_000, tzinfo=UTC)),
        ("2026-11-21T00:34:25.876340715-04:30", datetime(2026, 11, 21, 5, 4, 25, 876_340, tzinfo=UTC)),
        (" 2026-11-21T05:04:25Z\n", datetime(2026, 11, 21, 5, 4, 25, tzinfo=UTC)),
        ("2026-11-21T05:04:25", datetime(2026, 11, 21, 5, 4, 25, tzinfo=UTC)),
    ],
)
def test_what_nats_and_we_write_is_read(text: str, expected: datetime) -> None:
    found = parse_rfc3339(text)
    assert found == expected and found.tzinfo is not None


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "1795237373"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    berlin = timezone(timedelta(hours=1))
    assert rfc3339(datetime(2026, 1, 1, 0, 30, 0, 123_999, tzinfo=berlin)) == "2025-12-31T23:30:00.123Z"
    assert rfc3339(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (60, "1m"),
        (200, "3m 20s"),
        (3600, "1h"),
        (3605, "1h"),
        (7500, "2h 5m"),
        (86_399.7, "1d"),
        (86_400 * 12 + 4 * 3600 + 59, "12d 4h"),
        (86_400 * 12 + 59 * 60, "12d"),
        (86_400 * 4000, "4000d"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "year"), [(0, 1970), (-(10**17), 1970), (1_767_225_600, 2026), (10**17, 9999), (float("inf"), 9999)], ids=str
)
def test_any_number_is_a_moment_somewhere(seconds: float, year: int) -> None:
    found = moment(seconds)
    assert found.year == year
    for hours in (-14, 14):
        assert found.astimezone(timezone(timedelta(hours=hours))).year in (year - 1, year)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s ago"), (-30, "0s ago"), (1, "1s ago"), (45, "45s ago"), (200, "3m 20s ago")]
)
def test_ages(seconds: float, text: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert age(now - timedelta(seconds=seconds), now) == text
