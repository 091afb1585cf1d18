"""The true time of what was stored while the clock was wrong, computed when the time has become known. Pure; times are in nanoseconds.

A Pi has no clock battery, so its clock may be days behind until a network sets it, and then it steps. The kernel's boot clock
(CLOCK_BOOTTIME) never steps. So the wall clock is a line of *stretches*: in each of them it was ahead of the boot clock by one number. A
message is stamped by the wall clock; its stretch says how that was ahead, and so when by the boot clock it was stored. By how much the
true time is ahead of the boot clock is one number for a boot, its *truth*: once it is known, so is each message's true time, also of
those that were stored before.
"""

from __future__ import annotations

import msgspec

__all__ = ["MAX_BOOTS", "MAX_OWN_AGE_NS", "MAX_STRETCHES", "Stretch", "TrueTimes", "began", "learned", "stepped"]

_SECOND = 1_000_000_000
#: What is corrected: the hub's word for the time is as late as its answer, so less than this may be its error rather than our clock's.
_WORTH_NS = _SECOND
#: How far a sample's own time may lie after its message was stored, or before its stretch began: two clock reads are not one.
_SLACK_NS = 2 * _SECOND
#: How long before its message a sample may have been measured to be taken for one of the device's clock.
MAX_OWN_AGE_NS = 86_400 * _SECOND
#: How many are remembered. With the oldest gone what was stored in it has an estimated time.
MAX_STRETCHES, MAX_BOOTS = 256, 64


class Stretch(msgspec.Struct, frozen=True):
    """While the wall clock was ahead of the boot clock by ``ahead``, in one boot.

    since: when it began, by the boot clock. first: of each local stream, the first sequence that was stamped in it; one that is missing is
    not known yet.
    """

    boot: str
    since: int
    ahead: int
    first: dict[str, int] = {}


class TrueTimes(msgspec.Struct, frozen=True):
    """What is known of the clock. stretches: oldest first. truths: by how much the true time is ahead of each boot's clock, where known."""

    stretches: list[Stretch] = []
    truths: dict[str, int] = {}

    def of_message(self, stream: str, sequence: int, stored: int) -> tuple[int, bool]:
        """The true time of a message of ``stream`` that was stamped ``stored``, in Unix milliseconds, and whether it is only estimated:
        then it is what the clock said."""
        index = self._stretch_of(stream, sequence)
        if index is None:
            return stored // 1_000_000, True
        found = self.stretches[index]
        truth = self.truths.get(found.boot)
        if truth is None:
            return stored // 1_000_000, True
        return (stored + _worth(truth - found.ahead)) // 1_000_000, False

    def of_sample(self, stream: str, sequence: int, stored: int, own: float) -> tuple[int, bool]:
        """The same for a sample in it that says itself when it was measured, Unix seconds; 0: it does not.

        Its time is taken for one of the device's clock, and corrected as that was wrong, when by the stretch of its message, or an earlier
        one of that boot, it lies within the stretch, not after its message and at most a day before. Otherwise whoever wrote it has a better
        clock, and it stays as it is.
        """
        if not own:
            return self.of_message(stream, sequence, stored)
        index, own_ns = self._stretch_of(stream, sequence), round(own * _SECOND)
        if index is None:
            return own_ns // 1_000_000, True
        boot, end = self.stretches[index].boot, stored - self.stretches[index].ahead
        latest = end
        for stretch in reversed(self.stretches[: index + 1]):
            if stretch.boot != boot:
                break
            moment = own_ns - stretch.ahead
            if max(stretch.since, latest - MAX_OWN_AGE_NS) - _SLACK_NS <= moment <= end + _SLACK_NS:
                truth = self.truths.get(boot)
                return (own_ns + (_worth(truth - stretch.ahead) if truth is not None else 0)) // 1_000_000, truth is None
            end = stretch.since
        return own_ns // 1_000_000, False

    def is_known(self, stream: str, sequence: int) -> bool:
        """Whether a message of the boot of now has its true time. One of an earlier boot has what it will ever have."""
        if not self.stretches or any(stream not in each.first for each in self.stretches if each.boot == self.stretches[-1].boot):
            return False
        index = self._stretch_of(stream, sequence)
        boot = self.stretches[-1].boot
        return index is None or self.stretches[index].boot != boot or boot in self.truths

    def _stretch_of(self, stream: str, sequence: int) -> int | None:
        """The newest in which that sequence can have been stamped; None: it is older than all that is remembered."""
        for index in range(len(self.stretches) - 1, -1, -1):
            first = self.stretches[index].first.get(stream)
            if first is not None and first <= sequence:
                return index
        return None


def _worth(correction: int) -> int:
    return correction if abs(correction) >= _WORTH_NS else 0


def stepped(known: TrueTimes, stretch: Stretch) -> TrueTimes:
    """A stretch has begun. Only the newest of them, and the truths of their boots, are kept."""
    stretches = [*known.stretches, stretch][-MAX_STRETCHES:]
    boots = list(dict.fromkeys(each.boot for each in stretches))[-MAX_BOOTS:]
    return TrueTimes(
        [each for each in stretches if each.boot in boots], {boot: ahead for boot, ahead in known.truths.items() if boot in boots}
    )


def began(known: TrueTimes, stream: str, sequence: int, index: int = -1) -> TrueTimes:
    """``sequence`` is the first of ``stream`` in the stretch at ``index``, the newest if nothing else is said."""
    stretches = list(known.stretches)
    found = stretches[index]
    stretches[index] = msgspec.structs.replace(found, first={**found.first, stream: sequence})
    return TrueTimes(stretches, known.truths)


def learned(known: TrueTimes, boot: str, ahead: int) -> TrueTimes:
    """In that boot the true time is ahead of the boot clock by so much."""
    return TrueTimes(known.stretches, {**known.truths, boot: ahead})
