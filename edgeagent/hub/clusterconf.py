"""What makes the hub's nats-server one of several: the block ``cluster`` of its configuration. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.hub.address import authority
from edgeagent.hub.cluster import Cluster
from edgeagent.hub.conf import quoted

__all__ = ["ClusterConf", "render"]

#: The user of routes; the secret is the password.
USER = "route"


@dataclass(frozen=True, kw_only=True)
class ClusterConf:
    """hub: its name, also the cluster's. listen: of ``[hub]``. secret: only who knows it becomes a member.

    certificate, key, authorities: PEM files for TLS on routes; all or none. nats-server wants a certificate of both ends there, so they
    are the hub's own: those that authorities of the Web sign are for servers only.
    """

    hub: str
    listen: str
    cluster: Cluster
    secret: str = field(repr=False)
    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None


def render(conf: ClusterConf) -> str:
    """The block's text; empty for a server alone.

    ``no_advertise``: clients stay with the addresses that they were given. ``advertise``: what servers tell each other of themselves is
    the address that the others have in their lists already, and that the certificate names.
    """
    cluster = conf.cluster
    if not cluster.number:
        return ""
    routes = "\n".join(f"    {quoted(f'nats-route://{USER}:{conf.secret}@{route}')}" for route in cluster.others)
    return f"""cluster {{
  name: {quoted(conf.hub)}
  listen: {quoted(authority(cluster.listen or conf.listen, cluster.port))}
  advertise: {quoted(cluster.routes[cluster.number - 1])}
  no_advertise: true
  compression: s2_fast
  authorization {{ user: {USER}, password: {quoted(conf.secret)}, timeout: 10 }}
  {_tls(conf)}
  routes: [
{routes}
  ]
}}
"""


def _tls(conf: ClusterConf) -> str:
    if conf.certificate is None:
        return ""
    return (
        f"tls {{ cert_file: {quoted(conf.certificate)}, key_file: {quoted(conf.key)}, "
        f"ca_file: {quoted(conf.authorities)}, verify: true, timeout: 10 }}"
    )
