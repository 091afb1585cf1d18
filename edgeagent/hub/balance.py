"""How many devices a server of a cluster should send elsewhere now. Pure.

A leaf stays where it is for as long as its link holds: after a restart of one server all devices are on the others, and a new server
has none. Those that are sent away come back at once, to another one. Each server looks at itself alone, so nobody has to be elected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["HOLD_SECONDS", "ROUND_SECONDS", "Balance", "Server", "surplus"]

#: Between two looks, in seconds; each server's looks drift apart by chance.
ROUND_SECONDS = 20.0
#: How long all servers must have been well, and this one have had too many, in seconds: devices are still on their way after a restart.
HOLD_SECONDS = 60.0
#: Clearly too many: so many more than the share, as a part of it, and at least so many devices.
MARGIN, LEAST = 0.10, 2
#: Of all devices, how many are sent away in a minute at most; at least one in a round.
PART_A_MINUTE = 0.03


@dataclass(frozen=True)
class Server:
    """leafs: links of devices. uptime: seconds. healthy: as the server says itself."""

    leafs: int
    uptime: float
    healthy: bool


def surplus(leafs: Mapping[str, int], own: str) -> int:
    """How many more than its share the server ``own`` has; 0 unless that is clearly too many."""
    share = -(-sum(leafs.values()) // len(leafs))
    more = leafs[own] - share
    return more if more >= max(LEAST, MARGIN * share) else 0


class Balance:
    """own: the name of this server. size: how many there are when all are there."""

    def __init__(self, own: str, size: int) -> None:
        self._own, self._size = own, size
        self._since: float | None = None

    def to_move(self, servers: Mapping[str, Server], now: float) -> int:
        """How many to send away in this round. now: seconds of any clock that does not jump."""
        if not self._is_calm(servers):
            self._since = None
            return 0
        leafs = {name: server.leafs for name, server in servers.items()}
        more = surplus(leafs, self._own)
        if not more:
            self._since = None
            return 0
        if self._since is None:
            self._since = now
        if now - self._since < HOLD_SECONDS:
            return 0
        return min(more, max(1, int(sum(leafs.values()) * PART_A_MINUTE * ROUND_SECONDS / 60)))

    def _is_calm(self, servers: Mapping[str, Server]) -> bool:
        """Whether every server is there, and has been well for a while."""
        well = [server for server in servers.values() if server.healthy and server.uptime >= HOLD_SECONDS]
        return len(well) == self._size and self._own in servers
