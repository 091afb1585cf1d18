"""Devices that were lost, and that are back: many within a few seconds are one event. Pure: the caller brings the time.

An event names as many as it has room for. Of the others everybody knows who was lost by then.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["LostDevices", "named", "sentence"]

#: Ids that fit into an event, in characters: the stream takes 16 KiB.
MAX_NAMED_CHARACTERS = 10_000
#: How many a sentence names.
_SPOKEN = 10


class LostDevices:
    """offline_seconds: how long a device must be gone. gather_seconds: how long others are waited for, that go or come with it.

    Times are seconds of any one clock.
    """

    def __init__(self, *, offline_seconds: float, gather_seconds: float) -> None:
        self._offline, self._gather = offline_seconds, gather_seconds
        self._away: dict[str, float] = {}
        self._back: dict[str, float] = {}
        self._told: set[str] = set()
        self._all_told = 0.0

    def seen(self, device: str, *, online: bool, since: float, now: float) -> None:
        """A presence. since: since when it is away."""
        if not online:
            away = self._away.setdefault(device, min(since, now))
            self._back.pop(device, None)
            if away + self._offline <= self._all_told:
                self._told.add(device)
            return
        self._away.pop(device, None)
        if device in self._told:
            self._back.setdefault(device, now)

    def forgotten(self, known: set[str]) -> None:
        """Only these devices are there still."""
        for device in (self._away.keys() | self._back.keys() | self._told) - known:
            self._away.pop(device, None)
            self._back.pop(device, None)
            self._told.discard(device)

    def told(self, devices: Iterable[str], *, lost: bool) -> None:
        """Somebody has told of these, we or another instance."""
        if lost:
            self._told.update(devices)
            return
        for device in devices:
            self._told.discard(device)
            self._back.pop(device, None)

    def all_told(self, at: float, *, lost: bool) -> None:
        """Somebody has told then of more than he could name: of all that were lost, or were back, by then."""
        if lost:
            self._all_told = max(self._all_told, at)
            self._told.update(device for device, away in self._away.items() if away + self._offline <= at)
        else:
            self.told([device for device, back in self._back.items() if back <= at], lost=False)

    def lost(self, now: float) -> list[str]:
        """Whom to tell of now as lost: everybody who is gone long enough, once the first of them has waited for the others."""
        due = {device: at for device, at in self._away.items() if device not in self._told and at + self._offline <= now}
        return sorted(due) if due and min(due.values()) + self._offline + self._gather <= now else []

    def back(self, now: float) -> list[str]:
        """The same for those that are back, of which somebody was told."""
        return sorted(self._back) if self._back and min(self._back.values()) + self._gather <= now else []

    def next_due(self, now: float) -> float | None:
        """In how many seconds there may be something to tell; None: not before something is seen."""
        ends = [at + self._offline + self._gather for device, at in self._away.items() if device not in self._told]
        ends += [at + self._gather for at in self._back.values()]
        return max(0.0, min(ends) - now) if ends else None


def sentence(devices: list[str], *, lost: bool) -> str:
    """For people."""
    names = ", ".join(devices[:_SPOKEN]) + (f" and {len(devices) - _SPOKEN} more" if len(devices) > _SPOKEN else "")
    if len(devices) == 1:
        return f"{names} is {'offline' if lost else 'online again'}"
    return f"{len(devices)} devices are {'offline' if lost else 'online again'}: {names}"


def named(devices: list[str]) -> list[str]:
    """As many of them as an event has room for."""
    found, room = [], MAX_NAMED_CHARACTERS
    for device in devices:
        room -= len(device) + 3  # quotes and a comma
        if room < 0:
            break
        found.append(device)
    return found
