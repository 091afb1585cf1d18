"""What a leaf is made of, checked before anything is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeagent import mcus
from edgeagent.errors import UsageProblem
from edgeagent.leaf.conf import LeafConf
from edgeagent.leaf.secrets import LeafSecrets
from edgeagent.localsubjects import OWN_SOURCES
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver.supervisor import Timing
from edgeagent.subjects import ID_RULE, is_id

__all__ = ["HUB_DOMAIN", "LeafOptions"]

_PROXY = re.compile(r"http://([^/@\s]*@)?[^/@\s]+:[0-9]{1,5}/?\Z")

#: The hub's JetStream domain. A leaf with the same one would become a part of the hub's JetStream.
HUB_DOMAIN = "hub"


@dataclass(frozen=True, kw_only=True)
class LeafOptions:
    """server_name: the leaf's on NATS, ``<id>-<random>``; no other leaf of the fleet may have it.
    folder: all that the leaf keeps; made with mode 0700. One agent at a time may use it (the agent's lock is in it).
    hub_urls, credentials, tls_ca_file, proxy: see :class:`LeafConf`.
    port: where local programs connect, on 127.0.0.1; when another program has it, a managed leaf takes a free one.
    mode: ``managed``: we run nats-server. ``external``: somebody else (systemd) does, with the configuration that we write.
    server: path of nats-server; empty: see :func:`edgeagent.natsserver.binary.find`.
    go_memory_limit_bytes: GOMEMLIMIT of a managed leaf.
    collectors: programs that measure and that the agent runs: only it writes their samples, as its own.
    unit: the systemd unit of an external leaf, for errors.
    mqtt: where it takes MQTT clients, once there are some; files count from ``folder``.
    The sizes are in bytes, the times in seconds, with the meaning that they have in :class:`LeafConf`.
    Raises UsageProblem when they can't be meant.
    """

    device_id: str
    server_name: str
    folder: Path
    hub_urls: tuple[str, ...] = ()
    credentials: Path | None = None
    tls_ca_file: Path | None = None
    proxy: str = field(default="", repr=False)
    port: int = 4222
    mode: Literal["managed", "external"] = "managed"
    server: str = ""
    collectors: tuple[str, ...] = ()
    unit: str = "edgeagent-leaf"
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    store_max_bytes: int = 512 << 20
    memory_store_max_bytes: int = 8 << 20
    go_memory_limit_bytes: int = 24 << 20
    log_max_bytes: int = 1 << 20
    sync_seconds: float = 10.0
    reconnect_seconds: float = 10.0
    ping_seconds: float = 30.0
    start_seconds: float = 300.0
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        what = "set up the leaf"
        if not is_id(self.device_id):
            raise UsageProblem(what, f"{self.device_id!r} is no device id: {ID_RULE}")
        if self.device_id == HUB_DOMAIN:
            raise UsageProblem(what, f"no device may be called {HUB_DOMAIN!r}", "set another `device.id` in agent.toml")
        if not 1 <= self.port <= 65535:
            raise UsageProblem(what, f"{self.port} is no port")
        if len({url.startswith(("ws://", "wss://")) for url in self.hub_urls}) > 1:
            # nats-server refuses the configuration.
            raise UsageProblem(what, "hub.urls mixes ws:// or wss:// with other addresses", "use one kind")
        if self.proxy and not _PROXY.match(self.proxy):  # not repeated: there may be a password in it
            raise UsageProblem(what, "hub.proxy is no address such as http://proxy.example:3128")
        if self.proxy and not all(url.startswith(("ws://", "wss://")) for url in self.hub_urls):
            raise UsageProblem(what, "hub.proxy counts only for ws:// and wss:// addresses", "use the hub's websocket address")

    @property
    def config_file(self) -> Path:
        return self.folder / "leaf.conf"

    @property
    def apps_file(self) -> Path:
        """Local programs with a login; read whenever the configuration is written."""
        return self.folder / "apps.json"

    @property
    def mcus_file(self) -> Path:
        """Microcontrollers, of which some have a login."""
        return self.folder / mcus.FILE

    @property
    def store(self) -> Path:
        return self.folder / "js"

    @property
    def log_file(self) -> Path:
        return self.folder / "leaf.log"

    def conf(self, secrets: LeafSecrets, port: int, *, respelled: bool = False) -> LeafConf:
        """The configuration of this leaf. respelled: see :class:`LeafConf`.

        An external one logs to its unit's journal and writes the pid file that reloads need.
        """
        managed = self.mode == "managed"
        return LeafConf(
            server_name=self.server_name,
            domain=self.device_id,
            port=port,
            store=self.store,
            agent_password=secrets.agent,
            app_password=secrets.app,
            system_password=secrets.system,
            log=self.log_file if managed else None,
            log_max_bytes=self.log_max_bytes,
            pid_file=None if managed else self.config_file.with_suffix(".pid"),
            hub_urls=self.hub_urls,
            credentials=self.credentials,
            respelled=respelled,
            tls_ca_file=self.tls_ca_file,
            proxy=self.proxy,
            store_max_bytes=self.store_max_bytes,
            memory_store_max_bytes=self.memory_store_max_bytes,
            sync_seconds=self.sync_seconds,
            sources=tuple(dict.fromkeys((*OWN_SOURCES, *self.collectors))),
            reconnect_seconds=self.reconnect_seconds,
            ping_seconds=self.ping_seconds,
        )
