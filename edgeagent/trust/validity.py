"""How long certificates of ours are good, on a hub and on a device. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

__all__ = ["AUTHORITY_LIFE", "SERVER_LIFE", "START"]

#: Since when every certificate is valid. A Raspberry Pi boots at the date of its image, a Pico in 2021.
START = datetime(2020, 1, 1, tzinfo=timezone.utc)
AUTHORITY_LIFE = timedelta(days=20 * 365)
#: Browsers and some libraries refuse server certificates of more than 398 days.
SERVER_LIFE = timedelta(days=365)
