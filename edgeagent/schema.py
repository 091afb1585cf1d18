"""Every setting of a device, declared: its type, bounds, default, what it does, and whether the hub's configuration may change it.

docs/settings.md is made from this, agent.toml is read by it (:mod:`edgeagent.settings`), and configuration is checked with it
(:mod:`edgeagent.config`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from edgeagent.alertsettings import AlertSettings
from edgeagent.commandsettings import CommandSettings, ExecSettings, FileSettings, LogSettings, ServiceSettings
from edgeagent.gpiosettings import GpioSettings
from edgeagent.metricsettings import ForwardSettings, SamplingSettings
from edgeagent.sections import Section
from edgeagent.subjects import ID_RULE

__all__ = [
    "LABEL_KEY",
    "LABEL_KEY_RULE",
    "LIVE",
    "OPEN_SECTIONS",
    "RESTART",
    "SECTIONS",
    "AgentSettings",
    "CommandSettings",
    "DeviceSettings",
    "ExecSettings",
    "FileSettings",
    "ForwardSettings",
    "GpioSettings",
    "HubSettings",
    "LeafSettings",
    "LogSettings",
    "PathSettings",
    "QuerySettings",
    "SamplingSettings",
    "Section",
    "ServiceSettings",
]

#: How a setting's word for a label looks; the value is free text. Kept narrow so that ``labels.<key>`` always reads in CEL, which
#: keeps four words for itself even after a dot.
LABEL_KEY = r"^(?!(?:true|false|null|in)\Z)[a-z_][a-z0-9_]{0,62}\Z"
LABEL_KEY_RULE = "1 to 63 of a-z, 0-9 and '_', not beginning with a digit, and not true, false, null or in"

#: What the hub's configuration may change (:mod:`edgeagent.config`): at once, or from the next start of the agent on. What is marked
#: with neither is the file's alone: where the hub is, who this device is, and what must not be changed from afar.
#: A key that has ``metered`` besides has that default where ``agent.profile`` is metered.
LIVE, RESTART = {"config": "live"}, {"config": "restart"}

_Label = Annotated[
    str,
    Meta(
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z",
        extra={"form": "at most 256 characters, and none of them a control character"},
    ),
]
_LabelKey = Annotated[str, Meta(pattern=LABEL_KEY, extra={"form": LABEL_KEY_RULE})]
_LeafUrl = Annotated[
    str,
    Meta(pattern=r"^(nats-leaf|nats|tls|ws|wss)://[^/\s]+\Z", extra={"form": "an address such as nats-leaf://hub.example:7422"}),
]


class DeviceSettings(Section, frozen=True, kw_only=True):
    id: Annotated[
        str,
        Meta(
            description="The device's id. Empty: the host name, but `pi-<last 8 of the serial>` when that is raspberrypi, localhost or debian.",
            pattern=r"^([a-z0-9][a-z0-9-]{0,62})?\Z",
            extra={"form": ID_RULE},
        ),
    ] = ""
    labels: Annotated[
        dict[_LabelKey, _Label],
        Meta(
            description="What the device says about itself, for filters: `labels.site == 'berlin'` or `-l site=berlin`.",
            max_length=64,
            extra=LIVE,
        ),
    ] = {}


class HubSettings(Section, frozen=True, kw_only=True):
    urls: Annotated[
        list[_LeafUrl],
        Meta(
            description="Where the hub takes leaf nodes, e.g. `nats-leaf://hub.example:7422`. Empty: this device stays on its own."
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


class AgentSettings(Section, frozen=True, kw_only=True):
    profile: Annotated[
        Literal["normal", "metered"],
        Meta(
            description="`metered`: for a link on which every byte costs. Other defaults count then, where this page names two; whatever is set goes before them.",
            extra=LIVE,
        ),
    ] = "normal"
    heartbeat_seconds: Annotated[
        float,
        Meta(
            description="How often the agent says that it is alive, ±10 %. Suspect after 2 missed ones, offline after 3.",
            ge=1,
            le=3600,
            extra={**LIVE, "metered": 900.0},
        ),
    ] = 60.0
    facts_seconds: Annotated[
        float,
        Meta(
            description="How often the agent looks whether its stable facts changed; a change is reported at once.",
            ge=1,
            le=3600,
            extra={**LIVE, "metered": 300.0},
        ),
    ] = 30.0
    documents_seconds: Annotated[
        float,
        Meta(
            description="How often the agent looks at the hub for newer configuration without being told, ±10 %. It is told at once; this heals what it did not hear.",
            ge=1,
            le=86400,
            extra={**LIVE, "metered": 21600.0},
        ),
    ] = 1800.0
    micro: Annotated[
        bool,
        Meta(
            description="Answer `$SRV.PING|INFO|STATS`, so that NATS's own tools list the agents. Switch off above 500 devices.",
            extra=LIVE,
        ),
    ] = True
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="How much the agent logs.", extra=LIVE)
    ] = "info"


class QuerySettings(Section, frozen=True, kw_only=True):
    rate_per_second: Annotated[
        float,
        Meta(
            description="Live queries a second that the device answers to one person in the long run, a slow filter counting as several; more are refused.",
            gt=0,
            le=1000,
            extra=LIVE,
        ),
    ] = 20.0
    burst: Annotated[
        int,
        Meta(description="Live queries that it answers to one person at once before the rate counts.", ge=1, le=1000, extra=LIVE),
    ] = 100


class PathSettings(Section, frozen=True, kw_only=True):
    state: Annotated[
        str,
        Meta(
            description="Folder for what must survive a reboot. Empty: `/var/lib/edgeagent` for the system, XDG state for a user."
        ),
    ] = ""
    runtime: Annotated[
        str,
        Meta(
            description="Folder for what need not (status file). Empty: `/run/edgeagent` for the system, XDG runtime for a user."
        ),
    ] = ""
    collectors: Annotated[
        str,
        Meta(
            description="Folder with programs that measure. Empty: `/etc/edgeagent/collectors.d`. It and all above it must belong to root or the agent's user, and nobody else may write there; keep it out of what `file.push` lists. A relative path counts from agent.toml. [metrics.md](metrics.md)"
        ),
    ] = ""


#: The sections of the file, in the order in which docs/settings.md shows them.
SECTIONS: dict[str, type[Section]] = {
    "device": DeviceSettings,
    "hub": HubSettings,
    "leaf": LeafSettings,
    "agent": AgentSettings,
    "query": QuerySettings,
    "sampling": SamplingSettings,
    "forward": ForwardSettings,
    "commands": CommandSettings,
    "exec": ExecSettings,
    "service": ServiceSettings,
    "logs": LogSettings,
    "file": FileSettings,
    "gpio": GpioSettings,
    "paths": PathSettings,
}

#: Sections of any words: the type of the whole table of each. Its metadata are those of one key.
OPEN_SECTIONS: dict[str, Any] = {"alert": AlertSettings}
