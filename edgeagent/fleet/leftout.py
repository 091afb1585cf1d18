"""What is left out of what devices stored, and why: whoever reads it is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from edgeagent.direct import Stored

__all__ = ["AHEAD", "LeftOut", "latest_of"]

#: How far a device's clock may be ahead of the hub's. What was measured later than that was not: it would stay "the newest" for years.
AHEAD = timedelta(minutes=10)


@dataclass(kw_only=True)
class LeftOut:
    """What could not be told. unreadable: chunks by device, and why the first of them. ahead: what is of times to come, by device.

    late: what came so much later than what is newer of its device that it stands behind that. more: series beyond the bound.
    unmatched: how many devices there are where none of them is what was asked for; None: some are.
    """

    unreadable: dict[str, tuple[int, str]] = field(default_factory=dict)
    ahead: dict[str, int] = field(default_factory=dict)
    more: dict[str, int] = field(default_factory=dict)
    late: int = 0
    unmatched: int | None = None

    def spoil(self, device: str, why: str) -> None:
        """A chunk of the device makes no sense."""
        count, first = self.unreadable.get(device, (0, why))
        self.unreadable[device] = count + 1, first

    def count_ahead(self, device: str, count: int) -> None:
        if count:
            self.ahead[device] = self.ahead.get(device, 0) + count

    def sentences(self) -> list[str]:
        """For people; what is quoted in them may be anything."""
        found = [
            f"{device}: {count} of its messages make no sense and were left out; the first: {why}"
            for device, (count, why) in sorted(self.unreadable.items())
        ]
        found += [f"{device}: {count} with a time in the future left out" for device, count in sorted(self.ahead.items())]
        found += [f"{device}: {count} values of further series were left out" for device, count in sorted(self.more.items())]
        if self.unmatched is not None:
            found.append(f"no device matches; the hub knows {self.unmatched:,}")
        if self.late:
            found.append(f"{self.late} reached the hub so late that they stand behind newer ones of their device")
        return found


def latest_of(stored: Stored) -> float:
    """The last time that what is in the message can be of, Unix milliseconds."""
    return (stored.time + AHEAD).timestamp() * 1000
