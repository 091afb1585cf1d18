"""The link to the hub and the leaf itself: the sections ``[hub]`` and ``[leaf]`` of agent.toml (:mod:`edgeagent.schema`)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edgeagent import hubentries
from edgeagent.sections import LIVE, RESTART, Section

__all__ = ["HubSettings", "LeafSettings"]

_Hub = Annotated[str, Meta(pattern=hubentries.ENTRY, max_length=1024, extra={"form": hubentries.FORM})]


class HubSettings(Section, frozen=True, kw_only=True):
    urls: Annotated[
        list[_Hub],
        Meta(
            description="Where the hub takes leaf nodes, e.g. `tls://hub.example:7422`. Each entry is a hub, the most wanted first; several servers of one are written with commas: `tls://a:7422,tls://b:7422`. Empty: this device stays on its own. `edgeagent hub move` sets it for a fleet. [move.md](move.md)",
            max_length=hubentries.MAX_ENTRIES,
            extra={**LIVE, "document": hubentries.check_document},
        ),
    ] = []
    credentials: Annotated[
        str,
        Meta(
            description="File with the device's credentials (JWT and key). The leaf links as soon as it is there. A relative path counts from the state folder."
        ),
    ] = "device.creds"
    authorities: Annotated[
        str,
        Meta(
            description="File with the certificate authorities to trust for `tls://` and `wss://`, PEM. A relative path counts from the state folder. Empty: `authorities.pem` in the state folder if it is there, else the system's."
        ),
    ] = ""
    proxy: Annotated[
        str,
        Meta(
            description="HTTP proxy to the hub, `http://[user:password@]host:port`, only for `ws://` and `wss://` addresses. With a password keep agent.toml readable only by the agent."
        ),
    ] = ""
    renew_retry_seconds: Annotated[
        float,
        Meta(
            description="Pause before the device asks for new credentials again after it got none; it doubles up to 20 times as much.",
            ge=0.1,
            le=3600,
            extra=LIVE,
        ),
    ] = 30.0


class LeafSettings(Section, frozen=True, kw_only=True):
    mode: Annotated[
        Literal["managed", "external"],
        Meta(description="`managed`: the agent starts nats-server itself. `external`: systemd runs it (edgeagent-leaf.service)."),
    ] = "managed"
    server: Annotated[
        str, Meta(description="Absolute path of nats-server. Empty: the one installed beside edgeagent, else the one on PATH.")
    ] = ""
    port: Annotated[
        int,
        Meta(
            description="Port on 127.0.0.1 for local programs. When it is taken the leaf uses a free one and `edgeagent status` says so.",
            ge=1,
            le=65535,
        ),
    ] = 4222
    store_max_bytes: Annotated[
        int,
        Meta(
            description="The most that the leaf's streams may take on disk, in bytes; less where the disk has no room for it. It is decided once, at the first start with a setting, and stays so.",
            ge=1 << 20,
            le=1 << 42,
            extra=RESTART,
        ),
    ] = 512 << 20
    free_floor_bytes: Annotated[
        int,
        Meta(
            description="What the store leaves free on its disk, in bytes, as the disk is when that is decided; at most a tenth of the disk.",
            ge=0,
            le=1 << 42,
            extra=RESTART,
        ),
    ] = 256 << 20
    memory_store_max_bytes: Annotated[
        int, Meta(description="The most that memory streams may take, in bytes.", ge=1 << 20, le=1 << 40, extra=RESTART)
    ] = 8 << 20
    go_memory_limit_bytes: Annotated[
        int, Meta(description="GOMEMLIMIT of the leaf, in bytes.", ge=16 << 20, le=1 << 40, extra=RESTART)
    ] = 24 << 20
    sync_seconds: Annotated[
        float,
        Meta(
            description="How often the leaf flushes its store to disk (fsync); shorter wears SD cards.",
            ge=1,
            le=600,
            extra=RESTART,
        ),
    ] = 10.0
    reconnect_seconds: Annotated[
        float,
        Meta(
            description="Pause before the leaf dials the hub again; a random part of the same length is added after a failed dial.",
            ge=0.1,
            le=600,
            extra=RESTART,
        ),
    ] = 10.0
    ping_seconds: Annotated[
        float,
        Meta(
            description="How often the leaf asks the hub whether the link is alive, heartbeats apart. Less where something on the way ends a link that is quiet for so long.",
            ge=1,
            le=600,
            extra={**RESTART, "metered": 280.0},
        ),
    ] = 240.0
    restart_cap_seconds: Annotated[
        float, Meta(description="Longest pause before a leaf that ended is started again.", ge=0.1, le=600, extra=RESTART)
    ] = 30.0
