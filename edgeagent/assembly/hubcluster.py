"""The folders of a hub that is to be a cluster: one for each server, with the same keys, and how they come to their machines."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgeagent import files
from edgeagent.assembly import hubtls
from edgeagent.errors import UsageProblem
from edgeagent.hub.address import authority, is_loopback
from edgeagent.hub.cluster import ALONE, ROUTE_PORT, Cluster, check_size, server_name
from edgeagent.hub.exportsettings import MetricsOptions
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.serverping import ask_all
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.link import Client
from edgeagent.times import parse_rfc3339

__all__ = ["Member", "alone", "copies", "create", "look", "plan", "share_authority", "with_absent"]


class Member(NamedTuple):
    """One server's folder to be made. metrics: where Prometheus finds it."""

    place: HubFolder
    options: HubOptions
    cluster: Cluster = ALONE
    metrics: str = MetricsOptions().listen


def alone(place: HubFolder, options: HubOptions) -> list[Member]:
    """A hub of one server."""
    return [Member(place, options)]


def plan(
    place: HubFolder, options: HubOptions, size: int, hosts: Sequence[str] = (), route_port: int = ROUTE_PORT
) -> list[Member]:
    """The folders ``DIR``, ``DIR-2``, ``DIR-3`` and what each says. Pure.

    options: of the first server. hosts: where the others are reached, one for each server; none: all are on this machine, and their
    ports count on from those of the first. Raises UsageProblem for what cannot be.
    """
    check_size(size)
    what = f"make a hub of {size} servers"
    if hosts and len(set(hosts)) != size:
        raise UsageProblem(
            what, f"--server names {len(set(hosts))} of them", "name each one, or none when all are on this machine"
        )
    if any(map(is_loopback, hosts)):
        raise UsageProblem(what, "--server names this machine alone", "leave it out when all are on this machine")
    if hosts and is_loopback(options.listen):
        raise UsageProblem(what, f"at {options.listen} no other machine reaches them", "add --listen 0.0.0.0, and --tls-self")
    if hosts and options.advertise:
        raise UsageProblem(what, "--advertise names one of them, and --server each", "leave out --advertise")
    step = 0 if hosts else 1
    each = [_options(options, step * number, hosts[number] if hosts else options.advertise) for number in range(size)]
    return [
        Member(_folder(place, number), own, _cluster(each, number, route_port, step), _metrics(step * (number - 1)))
        for number, own in enumerate(each, 1)
    ]


def _folder(place: HubFolder, number: int) -> HubFolder:
    return place if number == 1 else HubFolder(place.path.with_name(f"{place.path.name}-{number}"))


def _options(first: HubOptions, more: int, host: str) -> HubOptions:
    return msgspec.structs.replace(
        first,
        advertise=host,
        client_port=first.client_port + more,
        leaf_port=first.leaf_port + more,
        websocket_port=first.websocket_port + more if first.websocket_port else 0,
    )


def _cluster(each: Sequence[HubOptions], number: int, route_port: int, step: int) -> Cluster:
    reached = [own.advertise or own.listen for own in each]
    web = bool(each[0].websocket_port)
    return Cluster(
        number=number,
        port=route_port + step * (number - 1),
        routes=[authority(host, route_port + step * place) for place, host in enumerate(reached)],
        operators=[authority(host, own.client_port) for host, own in zip(reached, each, strict=True)],
        devices=[authority(host, own.leaf_port) for host, own in zip(reached, each, strict=True)],
        websockets=[authority(host, own.websocket_port) for host, own in zip(reached, each, strict=True)] if web else [],
    )


def _metrics(more: int) -> str:
    host, port = MetricsOptions().address
    return authority(host, port + more)


def create(member: Member, undo: contextlib.ExitStack, first: Member) -> None:
    """Write one server's hub.toml and certificates into a folder that has its keys.

    undo: told how to remove them again. first: the one that was created first, whose certificate authority counts.
    """
    place, options = member.place, member.options
    undo.callback(place.options_file.unlink, missing_ok=True)
    place.create(options, member.cluster, member.metrics)
    undo.callback(shutil.rmtree, place.tls, ignore_errors=True)
    if member is not first and hubtls.has_own(place, options):
        share_authority(first.place, place)
    hubtls.prepare(place, options)


def share_authority(source: HubFolder, target: HubFolder) -> None:
    """Give ``target`` the certificate authorities of ``source``: it makes a certificate of its own with them. Raises EdgeError."""
    files.make_folder(target.tls, 0o700)
    for path in sorted(source.tls.glob("ca-*")):
        files.write_atomic(target.tls / path.name, files.read_bytes(path), 0o600 if path.suffix == ".key" else 0o644)
    state = msgspec.structs.replace(TlsFolder(source).state(), server=None)
    files.write_atomic(target.tls / "made.json", msgspec.json.format(msgspec.json.encode(state)) + b"\n", 0o600)


def copies(members: Sequence[Member], hosts: Sequence[str]) -> list[str]:
    """The commands that bring the folders to the machines of ``hosts``, modes and all; none where they are here already.

    There they are root's: the number of the user who made them here may be somebody else's there, who could read the keys.
    """
    return (
        [
            f"sudo tar -C {_quoted(member.place.path)} -cp . | ssh root@{host} 'install -d -m 700 {target} && tar -C {target} --no-same-owner -xp'"
            for member, host in zip(members[1:], hosts[1:], strict=True)
            for target in [_quoted(members[0].place.path)]
        ]
        if hosts
        else []
    )


def _quoted(path: Path) -> str:
    text = str(path)
    return text if text.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum() else f'"{text}"'


async def look(system: Client, cluster: Cluster) -> list[dict[str, Any]]:
    """Each server that is there, as `hub status` shows it. system: a connection to SYS. Raises Unreachable when none is."""
    found = await ask_all(system, "VARZ", cluster.size)
    return [_row(name, answer["data"]) for name, answer in sorted(found.items())]


def _row(name: str, varz: Any) -> dict[str, Any]:
    uptime = (parse_rfc3339(varz["now"]) - parse_rfc3339(varz["start"])).total_seconds()
    leader = ((varz.get("jetstream") or {}).get("meta") or {}).get("leader", "")
    return {
        "id": name,
        "up": True,
        "version": varz["version"],
        "uptime_seconds": round(uptime, 1),
        "connections": varz["connections"],
        "leafs": varz.get("leafnodes", 0),
        "memory_bytes": varz["mem"],
        "routes": varz.get("routes", 0),
        "leads": bool(leader) and leader == name,
    }


def with_absent(rows: Sequence[dict[str, Any]], hub: str, cluster: Cluster) -> list[dict[str, Any]]:
    """The same with those that should be there and are not. Pure."""
    there = {row["id"]: row for row in rows}
    names = [server_name(hub, msgspec.structs.replace(cluster, number=number)) for number in range(1, cluster.size + 1)]
    wanted = names if cluster.number else list(there)
    return [there.get(name, {"id": name, "up": False}) for name in wanted]
