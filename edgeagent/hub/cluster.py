"""``hub.toml``, section ``[cluster]``: the hub as one of several nats-servers that keep copies of everything. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from edgeagent.errors import UsageProblem
from edgeagent.sections import Section

__all__ = ["ALONE", "ROUTE_PORT", "SIZES", "Cluster", "check_size", "problems", "server_name"]

#: How many servers make sense. JetStream goes on while more than half of them are there.
SIZES = (3, 5)
ROUTE_PORT = 6222
_HOST = re.compile(r"[A-Za-z0-9_.:-]{0,253}\Z")
_ENTRY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253}):([0-9]{1,5})\Z")
_Port = Annotated[int, Meta(ge=1, le=65535)]


class Cluster(Section, frozen=True, kw_only=True):
    number: Annotated[
        int,
        Meta(
            description="Which of the hub's servers this is, from 1: its place in the lists below. 0: the hub is one server alone.",
            ge=0,
            le=5,
        ),
    ] = 0
    listen: Annotated[str, Meta(description="Address on which the other servers reach this one. Empty: the one of `[hub]`.")] = ""
    port: Annotated[_Port, Meta(description="Port on which they do.")] = ROUTE_PORT
    routes: Annotated[
        list[str],
        Meta(description="Where the servers reach each other, all of them in the same order on each, host and port: 3 or 5."),
    ] = []
    operators: Annotated[list[str], Meta(description="Where people reach each of them, in the same order.")] = []
    devices: Annotated[list[str], Meta(description="Where devices reach each of them, in the same order.")] = []
    websockets: Annotated[
        list[str],
        Meta(description="The same over websocket, for both. Empty: with no `websocket_port`."),
    ] = []

    @property
    def size(self) -> int:
        """How many servers there are."""
        return len(self.routes) if self.number else 1

    @property
    def replicas(self) -> int:
        """Copies of every stream: on every server, for a hub goes on only while all of its streams do."""
        return self.size

    @property
    def leads_accounts(self) -> bool:
        """Whether this server says what accounts and roles may do: one must, or two of other versions push against each other."""
        return self.number <= 1

    @property
    def others(self) -> list[str]:
        """The routes to the other servers."""
        return [route for number, route in enumerate(self.routes, 1) if number != self.number]


#: No cluster.
ALONE = Cluster()


def server_name(hub: str, cluster: Cluster) -> str:
    """The nats-server's name: the hub's, with its number in a cluster."""
    return f"{hub}-{cluster.number}" if cluster.number else hub


def check_size(size: int) -> None:
    """Raise UsageProblem, with the reason, for a number of servers that makes no sense."""
    if size in SIZES:
        return
    what = f"make a hub of {size} servers"
    if size < 2:
        raise UsageProblem(what, "that is no cluster", "leave out --cluster")
    if size > max(SIZES):
        raise UsageProblem(
            what, "every write would wait for more than half of them", "3 outlive the loss of one, 5 that of two; docs/scale.md"
        )
    lost = (size - 1) // 2
    why = "a cluster goes on while more than half of its servers do, so "
    why += "2 stop when either does" if lost == 0 else f"{size} outlive the loss of {lost}, as {size - 1} do"
    raise UsageProblem(what, why, "take 3, which outlive the loss of one, or 5, which outlive that of two")


def problems(cluster: Cluster, *, websocket: bool) -> Iterator[str]:
    """What is wrong in the section. websocket: the hub has a port for it."""
    if not cluster.number:
        if cluster.routes:
            yield "cluster.number: it is needed beside cluster.routes, from 1"
        return
    size = len(cluster.routes)
    if size not in SIZES:
        yield f"cluster.routes: {size} servers: it must be 3, which outlive the loss of one, or 5, which outlive that of two"
    if cluster.number > size:
        yield f"cluster.number = {cluster.number}: there are only {size} in cluster.routes"
    if not _HOST.match(cluster.listen):
        yield f"cluster.listen = {cluster.listen!r}: it must be a host name or an address, with no port and no scheme"
    lists = {"routes": cluster.routes, "operators": cluster.operators, "devices": cluster.devices}
    if websocket or cluster.websockets:
        lists["websockets"] = cluster.websockets
    for name, entries in lists.items():
        if len(entries) != size:
            yield f"cluster.{name}: it must name each of the {size} servers of cluster.routes"
        if len(set(entries)) != len(entries):
            yield f"cluster.{name}: one is there twice"
        yield from (f"cluster.{name}: {entry!r}: it must be a host and a port" for entry in entries if not _is_entry(entry))


def _is_entry(text: str) -> bool:
    found = _ENTRY.match(text)
    return found is not None and 0 < int(found[2]) < 1 << 16
