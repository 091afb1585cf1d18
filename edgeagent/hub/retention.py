"""What may go from the hub's store so that there is room for ever: which outcomes, and which entries of logs. Pure.

EDGE_COMMANDS and EDGE_RESULTS refuse what they have no room for, for a log must not lose its head, and an outcome that was acknowledged
is what a device asks for before it runs a command (it is its second journal). So what goes is older than any command that may still
run; only when that is not enough the devices with the largest share lose their oldest outcomes. Of chunks the oldest may go always: the
same shares see to it that nobody's go because another stores much.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = [
    "CROWDED",
    "FULL",
    "KEEP_ENTRIES_SECONDS",
    "KEEP_RESULTS_SECONDS",
    "ROOMY",
    "TIGHT",
    "Fill",
    "Listed",
    "Shares",
    "entries_below",
    "level",
]

DAY = 86400.0
#: How long an outcome stays at least after the hub stored it, in seconds, as long as there is room. No command may begin later than 7
#: days after it was issued (:class:`edgeagent.actions.Action`), and the first thing that is stored of it is stored after that.
KEEP_RESULTS_SECONDS = 30 * DAY
#: The same for entries of logs: as long, and as long as the longest expiry on top, so that none goes before its outcomes.
KEEP_ENTRIES_SECONDS = 37 * DAY
#: Parts of a stream's limit. Below TIGHT nothing goes at all; from FULL on somebody is told, and the fair shares come down to TIGHT.
TIGHT, FULL = 0.5, 0.8
#: Of a stream of chunks: from CROWDED on, the shares come down to ROOMY. It is listed once for what lies between.
CROWDED, ROOMY = 0.9, 0.7


class Fill(NamedTuple):
    """How a stream is: its bytes and their limit, and the sequences of its first and last message."""

    bytes: int
    limit: int
    first: int
    last: int

    @property
    def part(self) -> float:
        return self.bytes / self.limit if self.limit > 0 else 0.0


class Listed(NamedTuple):
    """A message without its payload. size: in bytes, as far as it can be seen."""

    subject: str
    sequence: int
    size: int


class Shares:
    """Who has how much of a stream: sequences and sizes of every device's messages, the oldest first."""

    def __init__(self, listed: Iterable[Listed] = ()) -> None:
        self._sequences: dict[str, array[int]] = {}
        self._sizes: dict[str, array[int]] = {}
        for each in listed:
            self.add(each)

    def add(self, listed: Listed) -> None:
        device = listed.subject.split(".")[2]
        self._sequences.setdefault(device, array("Q")).append(listed.sequence)
        self._sizes.setdefault(device, array("Q")).append(listed.size)

    @property
    def bytes(self) -> int:
        return sum(map(sum, self._sizes.values()))

    def by_count(self) -> Shares:
        """The same with every message as large as the other: for what hides its size from a listing."""
        made = Shares()
        made._sequences = self._sequences
        made._sizes = {device: array("Q", [1] * len(sizes)) for device, sizes in self._sizes.items()}
        return made

    def cut(self, room: int) -> dict[str, int]:
        """Device -> the sequence before which its messages are to go, so that what is left fits into ``room``. Who has less than an even
        share loses nothing. The newest message of a device stays."""
        allowed, found = level([sum(sizes) for sizes in self._sizes.values()], room), dict[str, int]()
        for device, sizes in self._sizes.items():
            left, number = sum(sizes), 0
            while left > allowed and number < len(sizes) - 1:
                left -= sizes[number]
                number += 1
            if number:
                found[device] = self._sequences[device][number]
        return found


def level(sizes: Iterable[int], room: int) -> float:
    """The largest size such that what is left fits into ``room`` when all larger ones are cut down to it; infinite if all fit."""
    ordered = sorted(sizes)
    for number, size in enumerate(ordered):
        even = room / (len(ordered) - number)
        if size > even:
            return even
        room -= size
    return float("inf")


def entries_below(numbers: Mapping[int, int], floor: int, before: int) -> int:
    """The sequence before which the old entries of one log may go; 0: none may.

    numbers: number -> sequence of those that are old enough. floor: as the head says; from there on all entries must be there.
    before: the sequence of the oldest message of the stream that is not old enough.
    """
    kept = min((sequence for number, sequence in numbers.items() if number >= floor), default=before)
    return kept if any(sequence < kept for sequence in numbers.values()) else 0
