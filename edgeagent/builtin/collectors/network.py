"""What goes through the network interfaces."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.builtin._kernel import children
from edgeagent.collectors import Metric, Round, collector
from edgeagent.sample import COUNTER, Sample

_OF = ("network.interface.name", "network.io.direction")
IO = Metric("system.network.io", "By", "Bytes through an interface since boot; left out for one that had none.", COUNTER, _OF)
ERRORS = Metric(
    "system.network.errors", "{error}", "Errors of an interface since boot; left out while there are none.", COUNTER, _OF
)
DROPPED = Metric(
    "system.network.packet.dropped",
    "{packet}",
    "Packets that an interface dropped since boot; left out while there are none.",
    COUNTER,
    _OF,
)

#: The loopback, and what container engines and hypervisors make and unmake.
_SKIPPED = ("lo", "veth", "docker", "br-", "virbr", "vnet", "cni", "cali", "flannel", "podman")
_DIRECTIONS = {"rx": "receive", "tx": "transmit"}


@collector("network", IO, ERRORS, DROPPED)
def collect(round: Round) -> Iterator[Sample]:
    for path in children(round.machine, "/sys/class/net"):
        name = path.rpartition("/")[2]
        if name.startswith(_SKIPPED):
            continue
        counts = {
            (end, what): round.machine.integer(f"{path}/statistics/{end}_{what}") or 0
            for end in _DIRECTIONS
            for what in ("bytes", "errors", "dropped")
        }
        if not any(counts[end, "bytes"] for end in _DIRECTIONS):
            continue
        for end, direction in _DIRECTIONS.items():
            yield IO(counts[end, "bytes"], name, direction)
            if counts[end, "errors"]:
                yield ERRORS(counts[end, "errors"], name, direction)
            if counts[end, "dropped"]:
                yield DROPPED(counts[end, "dropped"], name, direction)
