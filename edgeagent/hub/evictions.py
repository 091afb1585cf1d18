"""Whether two leafs take one link away from each other again and again: a copied card on boards without a serial number. Pure.

nats-server ends a leaf when another one of the same server name and account comes. An ordinary device does that once in a while, when
it is back before its old link is known to be dead; two copies do it at every dial.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

__all__ = ["Evictions", "is_eviction"]

#: So many in so many seconds are no coincidence.
COUNT, WITHIN_SECONDS = 3, 300.0
#: How often it is told of one device, in seconds.
AGAIN_SECONDS = 3600.0
#: Of how many devices they are counted: those that were heard last.
REMEMBERED = 1000


def is_eviction(reason: str) -> bool:
    """Whether a link ended because another leaf of its name came (nats-server 2.15.1's words)."""
    return "Duplicate Remote LeafNode" in reason


class Evictions:
    """Counts by device."""

    def __init__(self) -> None:
        self._heard: OrderedDict[str, _Heard] = OrderedDict()

    def heard(self, device: str, now: float) -> bool:
        """Count one; whether it is time to tell. now: seconds of any clock that does not jump."""
        heard = self._heard[device] = self._heard.pop(device, _Heard())
        if len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)
        heard.times.append(now)
        often = len(heard.times) == COUNT and now - heard.times[0] <= WITHIN_SECONDS
        if not often or now - heard.told < AGAIN_SECONDS:
            return False
        heard.told = now
        return True


@dataclass
class _Heard:
    times: deque[float] = field(default_factory=lambda: deque(maxlen=COUNT))
    told: float = float("-inf")
