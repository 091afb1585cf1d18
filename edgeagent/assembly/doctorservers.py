"""What `edgeagent hub doctor` and `/healthz` say of the hub's nats-servers: of each of them, and of what they keep together."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeagent.assembly.findings import Finding
from edgeagent.builtin.facts.clock import synchronized
from edgeagent.errors import EdgeError
from edgeagent.hub import serverstates
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.cluster import Cluster
from edgeagent.hub.serverstates import ServerState
from edgeagent.hub.streams import STREAMS
from edgeagent.link import Client, request
from edgeagent.machine import Machine
from edgeagent.natsserver.binary import MINIMUM
from edgeagent.times import duration

__all__ = ["MAX_LEAFS", "clock", "leafs", "look", "members", "streams", "versions"]

#: Links of devices that one server has been measured with (docs/scale.md).
MAX_LEAFS = 5000
#: A server of a cluster with so many times its share of all links, and so many more than it, has too many.
UNEVEN, UNEVEN_LEAFS = 1.5, 100
#: How far a server's clock may be from ours, in seconds: what is odd, and what is wrong, for logins and certificates go by it.
ODD_SECONDS, WRONG_SECONDS = 2.0, 60.0
#: Messages that a copy of a stream may lack while it is written to.
MAX_LAG = 1000
#: How long JetStream may take to list its streams, in seconds: where one has no leader it waits 4.
LIST_SECONDS = 8.0

_NTP = "`timedatectl` shows how it is set; `sudo timedatectl set-ntp true` has the network set it (UDP port 123 must be open)"
_LOG = "see server.log in the hub's folder there"


async def look(system: Client, hub: Client, cluster: Cluster, machine: Machine) -> tuple[list[ServerState], list[Finding]]:
    """Ask all of them, and judge. system, hub: connections to SYS and HUB. Raises EdgeError when none answers."""
    servers = await serverstates.asked(system, cluster.size)
    found = [*members(servers, cluster.size), *versions(servers), *leafs(servers), *clock(servers, synchronized(machine))]
    return servers, [*found, *streams(await _listed(hub))]


async def _listed(hub: Client) -> dict[str, Any]:
    """JetStream's list of streams, ``{"error": ...}`` when it gives none. All of ours fit into its first page."""
    try:
        answer = await request(hub, f"{PREFIX}.STREAM.LIST", b"{}", what="list the streams", timeout=LIST_SECONDS)
        found = json.loads(answer.data)
    except EdgeError as error:
        return {"error": {"description": error.why}}
    except ValueError:
        return {"error": {"description": "its answer makes no sense"}}
    return found if isinstance(found, dict) else {}


def members(servers: Sequence[ServerState], size: int) -> Iterator[Finding]:
    """Whether all are there. size: how many there should be."""
    if size == 1:
        return
    names = ", ".join(server.name for server in servers)
    remedy = f"start the others (`edgeagent hub up` on their machines), and see that they reach each other's route ports; {_LOG}"
    lost = size - len(servers)
    if lost > size // 2:
        text = f"{len(servers)} of {size} are there ({names}): too few, so nothing can be stored"
        yield Finding("wrong", text, remedy, "servers")
    elif lost > 0:
        yield Finding("warn", f"{len(servers)} of {size} are there ({names}): one more may fail", remedy, "servers")
    elif not any(server.leader for server in servers):
        yield Finding("wrong", "none of them leads JetStream", "it is elected within seconds; else " + remedy, "servers")
    else:
        yield Finding("good", f"all {size} are there ({names})", check="servers")


def versions(servers: Sequence[ServerState]) -> Iterator[Finding]:
    """Whether each is one that we have tried."""
    tested = ".".join(map(str, MINIMUM))
    remedy = f"install nats-server {tested} or newer there, and start the hub again"
    for server in servers:
        if _numbers(server.version) < MINIMUM:
            text = f"{server.name} is nats-server {server.version}, older than {tested}, the oldest that was tested"
            yield Finding("wrong", text, remedy, "version")
    several = sorted({server.version for server in servers})
    if len(several) > 1:
        text = f"the servers differ: {', '.join(several)}"
        yield Finding("warn", text, "install the same on all of them; for the time of an upgrade it is fine", "version")


def _numbers(version: str) -> tuple[int, ...]:
    """Without what follows a hyphen; (0,) for no version."""
    with contextlib.suppress(ValueError):
        return tuple(int(part) for part in version.partition("-")[0].split("."))
    return (0,)


def leafs(servers: Sequence[ServerState]) -> Iterator[Finding]:
    """Whether a server has too many devices."""
    total, before = sum(server.leafs for server in servers), True
    for server in servers:
        share = total / len(servers)
        if server.leafs > MAX_LEAFS:
            text = f"{server.name} has {server.leafs} devices, more than the {MAX_LEAFS} that one server is good for"
            yield Finding("warn", text, "add servers, or a second hub for a part of them: docs/scale.md", "links")
            before = False
        elif len(servers) > 1 and server.leafs > UNEVEN * share and server.leafs > share + UNEVEN_LEAFS:
            text = f"{server.name} has {server.leafs} of {total} devices, far more than its share"
            remedy = "the hub spreads them by itself, a few a minute; if it does not, `edgeagent hub up` does not run there"
            yield Finding("warn", text, remedy, "links")
            before = False
    if before and servers:
        most = max(server.leafs for server in servers)
        yield Finding("good", f"{total} of devices, at most {most} at one server", check="links")


def clock(servers: Sequence[ServerState], synchronized: bool | None) -> Iterator[Finding]:
    """Whether the servers agree about the time, and something keeps ours right. synchronized: None: not known."""
    odd = [server for server in servers if abs(server.ahead_seconds) > ODD_SECONDS]
    for server in odd:
        off = server.ahead_seconds
        text = f"{server.name} is {duration(abs(off))} {'ahead of' if off > 0 else 'behind'} this machine"
        level = "wrong" if abs(off) > WRONG_SECONDS else "warn"
        yield Finding(level, text, f"on both: {_NTP}", "clock")  # type: ignore[arg-type]  # one of two words
    if synchronized is False:
        text = "nothing keeps it right: logins, certificates and the times of samples go by it"
        yield Finding("warn", text, _NTP, "clock")
    elif not odd:
        kept = "something keeps it right" if synchronized else "the kernel does not say who sets it"
        yield Finding("good", f"{kept}{', and all servers agree' if len(servers) > 1 else ''}", check="clock")


def streams(listed: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether each stream is there, has a leader, and copies that keep up. listed: JetStream's answer to STREAM.LIST."""
    if "error" in listed:
        why = (listed["error"] or {}).get("description", "it does not say why")
        yield Finding("wrong", f"JetStream does not list them: {why}", f"is its disk full or slow? {_LOG}", "streams")
        return
    found = {str(each["config"]["name"]): each for each in listed.get("streams") or []}
    leaderless = {*(listed.get("missing") or []), *(name for name, each in found.items() if not _leader(each))}
    wanted = [stream.name for stream in STREAMS]
    if bad := [name for name in wanted if name in leaderless]:
        text = f"{len(bad)} have no leader, so nothing can be stored there: {', '.join(bad)}"
        yield Finding("wrong", text, f"more than half of the servers must be there; an election takes seconds; {_LOG}", "streams")
    if gone := [name for name in wanted if name not in found and name not in leaderless]:
        text = f"{', '.join(gone)}: not there"
        remedy = "`edgeagent hub up` makes them; if it does not: its store may be too small, or JetStream is switched off"
        yield Finding("wrong", text, remedy, "streams")
    behind = sorted({name for name in wanted for copy in _copies(found.get(name)) if _is_behind(copy)})
    if behind:
        which = "all streams" if len(behind) == len(wanted) else ", ".join(behind)
        text = f"copies of {which} are behind"
        remedy = f"the server that has them is away, or too slow; it catches up by itself when it is back; {_LOG}"
        yield Finding("warn", text, remedy, "streams")
    if not (bad or gone or behind):
        yield Finding("good", f"all {len(wanted)} are there", check="streams")


def _leader(stream: Mapping[str, Any]) -> bool:
    """A stream of one server alone has none, and needs none."""
    cluster = stream.get("cluster")
    return not cluster or not cluster.get("name") or bool(cluster.get("leader"))


def _copies(stream: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return ((stream or {}).get("cluster") or {}).get("replicas") or []


def _is_behind(copy: Mapping[str, Any]) -> bool:
    return bool(copy.get("offline")) or not copy.get("current", True) or int(copy.get("lag", 0)) > MAX_LAG
