"""Where the hub is reached, in the form in which people and devices must write it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from edgeagent import servers
from edgeagent.hub.cluster import ALONE, Cluster
from edgeagent.hub.folder import HubOptions

__all__ = [
    "Addresses",
    "addresses",
    "authority",
    "is_loopback",
    "is_wildcard",
    "known_host",
    "local_host",
    "local_url",
    "own_address",
]

#: Printed where the hub listens everywhere and this machine has no route to anywhere.
PLACEHOLDER = "<this machine's address>"
#: Addresses for documentation (RFC 5737, RFC 3849): nobody has them, so the way to them is the default route.
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """operators, devices: URLs for other machines, with commas where there are several servers (:mod:`edgeagent.servers`).

    websocket: the same for both where only HTTPS gets through; empty: there is none.
    note: what to know about them, a sentence; empty when there is nothing.
    """

    operators: str
    devices: str
    websocket: str = ""
    note: str = ""


def addresses(options: HubOptions, cluster: Cluster) -> Addresses:
    """What to tell people and devices. A cluster's lists count first, then ``advertise``, then the address that the hub listens on."""
    if cluster.number:
        return _of_all(options, cluster)
    host = options.advertise or options.listen
    if is_wildcard(host):
        host = own_address(host) or PLACEHOLDER
    websocket = f"{'wss' if options.tls else 'ws'}://{authority(host, options.websocket_port)}"
    return Addresses(
        operators=f"{'tls' if options.tls else 'nats'}://{authority(host, options.client_port)}",
        devices=f"{'tls' if options.tls else 'nats-leaf'}://{authority(host, options.leaf_port)}",
        websocket=websocket if options.websocket_port else "",
        note="Only this machine can reach these addresses: set `listen` in hub.toml for others." if is_loopback(host) else "",
    )


def _of_all(options: HubOptions, cluster: Cluster) -> Addresses:
    return Addresses(
        operators=_urls("tls" if options.tls else "nats", cluster.operators),
        devices=_urls("tls" if options.tls else "nats-leaf", cluster.devices),
        websocket=_urls("wss" if options.tls else "ws", cluster.websockets),
        note="Only this machine can reach these addresses." if all(map(_is_near, cluster.devices)) else "",
    )


def _urls(scheme: str, entries: Iterable[str]) -> str:
    return servers.joined(f"{scheme}://{entry}" for entry in entries)


def _is_near(entry: str) -> bool:
    return is_loopback(entry.rpartition(":")[0].strip("[]"))


def known_host(options: HubOptions) -> str:
    """The hub's name or address as others know it; empty when it does not know that itself."""
    host = options.advertise or options.listen
    return (own_address(host) or "") if is_wildcard(host) else host


def local_url(options: HubOptions, cluster: Cluster = ALONE) -> str:
    """Where programs on the hub's own machine reach it: this machine's server first, then the cluster's others."""
    scheme = "tls" if options.tls else "nats"
    others = (entry for number, entry in enumerate(cluster.operators, 1) if number != cluster.number)
    return servers.joined(f"{scheme}://{entry}" for entry in (authority(local_host(options), options.client_port), *others))


def local_host(options: HubOptions) -> str:
    """The address that programs on the hub's own machine use."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.listen, options.listen)


def authority(host: str, port: int) -> str:
    """``host:port``, with the brackets that an IPv6 address needs (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_wildcard(host: str) -> bool:
    """Whether it stands for every address of the machine, and so for none that others could use."""
    return _matches(host, "is_unspecified")


def is_loopback(host: str) -> bool:
    return host == "localhost" or _matches(host, "is_loopback")


def _matches(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False


def own_address(wildcard: str) -> str | None:
    """This machine's address on its default route, None when it has none.

    wildcard: ``0.0.0.0`` or ``::``, which nats-server takes for IPv4 too. Sends nothing: connecting a UDP socket only asks the
    kernel for a route.
    """
    families = [socket.AF_INET, *([socket.AF_INET6] if ":" in wildcard else [])]
    for family in families:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE[family], 9))
            found = str(probe.getsockname()[0])
            if not is_loopback(found) and not is_wildcard(found):
                return found
    return None
