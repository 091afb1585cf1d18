"""The hub's nats-server configuration as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeagent.hub.address import authority

__all__ = ["DOMAIN", "HubConf", "quoted", "render"]

#: The hub's JetStream domain. A device's is its id, so no device may be called so.
DOMAIN = "hub"


@dataclass(frozen=True, kw_only=True)
class HubConf:
    """accounts: public key → JWT, all of them, the system account's among them.

    leaf_port, websocket_port: 0 for none. certificate, key: PEM files for TLS on every port; both or neither.
    cluster_text: appended as it is: what makes the server one of several.
    """

    name: str
    listen: str
    client_port: int
    leaf_port: int
    ping_seconds: float
    store: Path
    store_max_bytes: int
    resolver: Path
    log: Path
    ports: Path
    operator_jwt: str
    system_account: str
    accounts: Mapping[str, str]
    websocket_port: int = 0
    certificate: Path | None = None
    key: Path | None = None
    cluster_text: str = ""


def render(conf: HubConf) -> str:
    """The configuration file's text.

    ``isolate_leafnode_interest`` is not an optimisation: without it 3,000 leafs brought a hub down. ``no_advertise`` keeps leafs on
    the address they were given. The domain keeps the hub's JetStream apart from the devices' own. Leafs begin with TLS at once
    (``handshake_first``), so that nobody on the way can talk them out of it; people's clients do not all know that.
    """
    preload = "\n".join(f"  {public}: {jwt}" for public, jwt in conf.accounts.items())
    return f"""# Written by edgeagent; changes are overwritten. Edit hub.toml instead.
server_name: {quoted(conf.name)}
listen: {quoted(authority(conf.listen, conf.client_port))}
max_payload: 1MB
ping_interval: "{conf.ping_seconds:g}s"
ping_max: 2
logfile: {quoted(conf.log)}
logfile_size_limit: 10MB
logfile_max_num: 5
ports_file_dir: {quoted(conf.ports)}
{_tls(conf)}
operator: {conf.operator_jwt}
system_account: {conf.system_account}
resolver {{ type: full, dir: {quoted(conf.resolver)}, allow_delete: true, interval: "2m" }}
resolver_preload {{
{preload}
}}
jetstream {{
  store_dir: {quoted(conf.store)}
  domain: {DOMAIN}
  max_file_store: {conf.store_max_bytes}
  max_memory_store: {64 << 20}
}}
{_leafnodes(conf)}
{_websocket(conf)}
{conf.cluster_text}"""


def _tls(conf: HubConf, more: str = "") -> str:
    if conf.certificate is None:
        return ""
    # The default timeout of 2 s is too short for a mobile network.
    return f"tls {{ cert_file: {quoted(conf.certificate)}, key_file: {quoted(conf.key)}, timeout: 10, {more} }}"


def _leafnodes(conf: HubConf) -> str:
    if not conf.leaf_port:
        return ""
    return f"""leafnodes {{
  listen: {quoted(authority(conf.listen, conf.leaf_port))}
  isolate_leafnode_interest: true
  no_advertise: true
  compression: s2_fast
  authorization {{ timeout: 10 }}
  {_tls(conf, "handshake_first: true")}
}}"""


def _websocket(conf: HubConf) -> str:
    if not conf.websocket_port:
        return ""
    return f"""websocket {{
  listen: {quoted(authority(conf.listen, conf.websocket_port))}
  compression: true
  handshake_timeout: "10s"
  {_tls(conf) or "no_tls: true"}
}}"""


def quoted(value: object) -> str:
    """As a string of nats-server's configuration."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
