"""What a restored hub is to be: its folder, or one for each server of a cluster, and what their hub.toml say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from edgeagent import files
from edgeagent.assembly import hubcluster
from edgeagent.assembly.hubcluster import Member
from edgeagent.errors import SettingsProblem, UsageProblem
from edgeagent.hub.cluster import ALONE, ROUTE_PORT, Cluster
from edgeagent.hub.exportsettings import MetricsOptions
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.optionsedit import edited, replaced

__all__ = ["members", "write_options"]

_WHAT = "restore the hub"


def members(
    place: HubFolder,
    before: tuple[HubOptions, Cluster],
    changes: Mapping[str, object],
    *,
    size: int | None,
    hosts: Sequence[str] = (),
    route_port: int = ROUTE_PORT,
) -> list[Member]:
    """The servers. before: of the server that the backup was taken at. changes: options that are others here.

    size: how many servers; None: one, unless it was a cluster, whose servers nobody can guess. Raises UsageProblem.
    """
    options, cluster = before
    if size is None and cluster.number:
        raise UsageProblem(
            _WHAT,
            f"it had {cluster.size} servers",
            f"say how many it gets, and where: --cluster {cluster.size} with --server HOST for each, or --cluster 1",
        )
    if hosts and (size or 1) < 2:
        raise UsageProblem(_WHAT, "--server is for a hub of several", "add --cluster 3")
    # Which nats-server runs here is no backup's to say: it would be run.
    options = msgspec.structs.replace(_first(options, cluster), **{"server": "", **changes})
    if (size or 1) == 1:
        return hubcluster.alone(place, options)
    return hubcluster.plan(place, options, size or 1, hosts, route_port)


def _first(options: HubOptions, cluster: Cluster) -> HubOptions:
    """The options of a cluster's first server, with the name that others had for it left open."""
    if not cluster.number:
        return options
    lists = {"client_port": cluster.operators, "leaf_port": cluster.devices, "websocket_port": cluster.websockets}
    ports = {name: int(entries[0].rpartition(":")[2]) for name, entries in lists.items() if entries}
    return msgspec.structs.replace(options, advertise="", **ports)


def write_options(draft: HubFolder, text: str, member: Member) -> None:
    """Write hub.toml: the backup's, with what differs at this server. Raises EdgeError."""
    files.write_atomic(draft.options_file, text.encode(), 0o600)
    before = draft.options()
    differing = {
        field: getattr(member.options, field)
        for field in member.options.__struct_fields__
        if getattr(member.options, field) != getattr(before, field)
    }
    cluster = msgspec.structs.asdict(member.cluster) if member.cluster != ALONE else {}
    text = edited(replaced(text, "cluster", cluster), "hub", differing)
    if member.metrics != MetricsOptions().listen:
        text = edited(text, "metrics", {"listen": member.metrics})
    files.write_atomic(draft.options_file, text.encode(), 0o600)
    if draft.options() != member.options or draft.cluster() != member.cluster:
        raise SettingsProblem(_WHAT, ["hub.toml in the backup is written in a way that cannot be changed here"])
