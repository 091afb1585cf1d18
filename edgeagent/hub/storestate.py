"""How it stands with the hub's store: what its servers say (HEALTHZ), what the disk says, and what follows from both. Pure.

nats-server (2.15.1) keeps the first write error of a stream until it ends: the stream answers no publish any more. As soon as EDGE_AUDIT,
which copies from others, meets the full disk, the server switches JetStream off as a whole, and nobody answers reads either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgeagent.errors import Failed
from edgeagent.hub.streams import STREAMS
from edgeagent.leaf.storelimit import Disk

__all__ = [
    "ENOUGH_BYTES",
    "FULL_BYTES",
    "LIMITS_PART",
    "Restarts",
    "ServerStore",
    "Step",
    "is_full",
    "is_low",
    "largest_store",
    "limits_sum",
    "low_bytes",
    "read_healthz",
    "room_problem",
    "silent",
]

#: A disk with less free is called full; only with so much a restart makes sense: there is to be room for more than its first writes.
FULL_BYTES, ENOUGH_BYTES = 1 << 20, 8 << 20
#: A disk is called nearly full with less free than this part of it, or than so many bytes, whichever is less.
LOW_PART, LOW_BYTES = 20, 1 << 30
#: What the limits of all streams may take of a disk together.
LIMITS_PART = 0.8
#: What all streams may take of ``store_max_bytes``.
_SHARES = sum(stream.share for stream in STREAMS)
#: As monitor.go writes it: ``JetStream stream 'ACCOUNT > NAME' write error: WHY``; a replicated one's log: ``node write error``.
_WRITE_ERROR = re.compile(r"'\S+ > (?P<stream>[^']+)'.*write error: (?P<why>.*)", re.DOTALL)


@dataclass(frozen=True)
class ServerStore:
    """What one server says. off: why it has no JetStream now, empty when it has. dead: streams that take nothing there -> why."""

    server: str
    off: str = ""
    dead: dict[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not self.off and not self.dead

    @property
    def why(self) -> str:
        """For people: what it says, in one line. A full disk fails all streams, each with a path of its own: the reason is said once."""
        if self.off or len(self.dead) < 2:
            return self.off or "; ".join(f"{stream}: {why}" for stream, why in self.dead.items())
        streams, reasons = sorted(self.dead), sorted({why.rpartition(": ")[2] for why in self.dead.values()})
        more = f" and {len(streams) - 3} more" if len(streams) > 3 else ""
        return f"{', '.join(streams[:3])}{more}: {'; '.join(reasons)}"


def read_healthz(data: bytes) -> ServerStore:
    """An answer to ``$SYS.REQ.SERVER.PING.HEALTHZ`` with ``{"details": true}``. Raises Failed for one that makes no sense."""
    try:
        answer = json.loads(data)
        server, errors = str(answer["server"]["name"]), answer["data"].get("errors") or []
        off, dead = "", {}
        for error in errors:
            why = str(error.get("error", ""))
            if error.get("type") == "JETSTREAM" and "not enabled" in why:
                off = why
            elif found := _WRITE_ERROR.search(why):
                dead[found["stream"]] = found["why"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Failed("ask a server of the hub for its health", "its answer makes no sense") from None
    return ServerStore(server, off, dead)


def silent(servers: Iterable[ServerStore], expected: int) -> frozenset[str]:
    """The streams that take nothing anywhere: too few of the ``expected`` servers (1, or those of a cluster) can write them."""
    quorum, found = expected // 2 + 1, list(servers)
    names = (stream.name for stream in STREAMS)
    return frozenset(name for name in names if sum(bool(each.off) or name in each.dead for each in found) >= quorum)


def is_full(disk: Disk) -> bool:
    """Whether what is written next may find no room."""
    return disk.free < FULL_BYTES


def is_low(disk: Disk) -> bool:
    """Whether somebody should make room."""
    return disk.free < low_bytes(disk.size)


def low_bytes(size: int) -> int:
    """With less free than this a disk of ``size`` bytes is nearly full; all in bytes."""
    return max(2 * ENOUGH_BYTES, min(LOW_BYTES, size // LOW_PART))


def limits_sum(store_max_bytes: int) -> int:
    """What all streams together may take of the disk of one server, in bytes. Each server of a cluster may have a copy of each."""
    return round(_SHARES * store_max_bytes)


def largest_store(disk: Disk) -> int:
    """The largest ``store_max_bytes`` whose limits such a disk has room for, in whole MiB."""
    return int(LIMITS_PART * disk.size / _SHARES) >> 20 << 20


def room_problem(limits: int, disk: Disk, used: int = 0) -> tuple[Literal["never", "now"], str] | None:
    """Why streams with these limits do not fit: never on such a disk, or not with what others have there now. used: what they take already."""
    if limits > LIMITS_PART * disk.size:
        return (
            "never",
            f"the streams may take {_mib(limits)}, more than {LIMITS_PART:.0%} of the disk, which has {_mib(disk.size)}",
        )
    if limits > disk.free + used:
        return (
            "now",
            f"the streams may take {_mib(limits)}, and there are {_mib(disk.free + used)} for them: others have the rest",
        )
    return None


def _mib(value: int) -> str:
    return f"{value >> 20} MiB"


#: What is to be done with a server: nothing, wait for space, wait for the pause to be over, restart it.
Step = Literal["", "full", "wait", "restart"]


class Restarts:
    """When a server whose store takes nothing is restarted: once there is space, and not again and again. Pure.

    A restart that comes after a full disk needs ``spacing`` to the one before; one whose cause is another comes with growing pauses.
    All in seconds.
    """

    def __init__(self, pauses: Sequence[float], *, spacing: float) -> None:
        self._pauses, self._spacing = pauses, spacing
        self._last, self._count, self._was_full = float("-inf"), 0, False

    def step(self, store: ServerStore, disk: Disk, now: float, *, free_to: bool = True) -> Step:
        """What to do now. After ``restart`` the caller is taken to have done it. free_to: False while another server may be at it."""
        self._was_full = self._was_full or is_full(disk) or "no space left" in store.why
        if store.is_good:
            self._was_full = is_full(disk)
            return ""
        if disk.free < ENOUGH_BYTES:
            return "full"
        if now - self._last > self._pauses[-1]:
            self._count = 0
        pause = self._spacing if self._was_full else self._pauses[min(self._count, len(self._pauses) - 1)]
        if not free_to or now - self._last < pause:
            return "wait"
        self._count = 0 if self._was_full else self._count + 1
        self._last, self._was_full = now, False
        return "restart"
