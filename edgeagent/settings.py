"""``agent.toml``: the local file that a person edits on the device, as frozen, typed values.

Every setting is declared once, here, with its type, bounds, default and description; docs/settings.md is generated from it, and
every problem of a file is reported at once. Relative folders in the file count from the file's own folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgeagent import enrolled, places
from edgeagent.enrolled import Enrolment
from edgeagent.files import read_text
from edgeagent.sections import parse_sections
from edgeagent.subjects import ID_RULE

__all__ = [
    "AgentSettings",
    "DeviceSettings",
    "HubSettings",
    "LeafSettings",
    "QuerySettings",
    "Settings",
    "load",
    "load_own",
    "parse",
]

#: How a setting's word for a label looks; the value is free text. Kept narrow so that ``labels.<key>`` always reads in CEL, which
#: keeps four words for itself even after a dot.
LABEL_KEY = r"^(?!(?:true|false|null|in)\Z)[a-z_][a-z0-9_]{0,62}\Z"
LABEL_KEY_RULE = "1 to 63 of a-z, 0-9 and '_', not beginning with a digit, and not true, false, null or in"

_Label = Annotated[str, Meta(max_length=256)]
_LabelKey = Annotated[str, Meta(pattern=LABEL_KEY, extra={"form": LABEL_KEY_RULE})]
_LeafUrl = Annotated[
    str,
    Meta(pattern=r"^(nats-leaf|nats|tls|ws|wss)://[^/\s]+\Z", extra={"form": "an address such as nats-leaf://hub.example:7422"}),
]


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    pass


class DeviceSettings(_Section, frozen=True, kw_only=True):
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
        ),
    ] = {}


class HubSettings(_Section, frozen=True, kw_only=True):
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
        ),
    ] = 30.0


class LeafSettings(_Section, frozen=True, kw_only=True):
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
        int, Meta(description="The most that the leaf's streams may take on disk, in bytes.", ge=1 << 20, le=1 << 42)
    ] = 512 << 20
    memory_store_max_bytes: Annotated[
        int, Meta(description="The most that memory streams may take, in bytes.", ge=1 << 20, le=1 << 40)
    ] = 8 << 20
    go_memory_limit_bytes: Annotated[int, Meta(description="GOMEMLIMIT of the leaf, in bytes.", ge=16 << 20, le=1 << 40)] = (
        24 << 20
    )
    sync_seconds: Annotated[
        float, Meta(description="How often the leaf flushes its store to disk (fsync); shorter wears SD cards.", ge=1, le=600)
    ] = 10.0
    reconnect_seconds: Annotated[
        float,
        Meta(
            description="Pause before the leaf dials the hub again; a random part of the same length is added after a failed dial.",
            ge=0.1,
            le=600,
        ),
    ] = 10.0
    ping_seconds: Annotated[
        float, Meta(description="How often the leaf and the hub ask each other whether the link is alive.", ge=1, le=600)
    ] = 30.0
    restart_cap_seconds: Annotated[
        float, Meta(description="Longest pause before a leaf that ended is started again.", ge=0.1, le=600)
    ] = 30.0


class AgentSettings(_Section, frozen=True, kw_only=True):
    heartbeat_seconds: Annotated[
        float,
        Meta(
            description="How often the agent says that it is alive, ±10 %. Suspect after 2 missed ones, offline after 3.",
            ge=1,
            le=3600,
        ),
    ] = 60.0
    facts_seconds: Annotated[
        float,
        Meta(
            description="How often the agent looks whether its stable facts changed; a change is reported at once.", ge=1, le=3600
        ),
    ] = 30.0
    micro: Annotated[
        bool,
        Meta(
            description="Answer `$SRV.PING|INFO|STATS`, so that NATS's own tools list the agents. Switch off above 500 devices."
        ),
    ] = True
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="How much the agent logs.")] = "info"


class QuerySettings(_Section, frozen=True, kw_only=True):
    rate_per_second: Annotated[
        float,
        Meta(
            description="Live queries a second that the device answers to one person in the long run, a slow filter counting as several; more are refused.",
            gt=0,
            le=1000,
        ),
    ] = 20.0
    burst: Annotated[
        int, Meta(description="Live queries that it answers to one person at once before the rate counts.", ge=1, le=1000)
    ] = 100


class PathSettings(_Section, frozen=True, kw_only=True):
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


class Settings(_Section, frozen=True, kw_only=True):
    """One device's settings. ``source`` is the file they came from (None: all defaults).

    enrolment: what ``edgeagent enroll`` left behind, and what :func:`load` took the device's id, the hub's addresses and the proxy from
    where the file leaves them out; None: nothing.
    """

    device: DeviceSettings = DeviceSettings()
    hub: HubSettings = HubSettings()
    leaf: LeafSettings = LeafSettings()
    agent: AgentSettings = AgentSettings()
    query: QuerySettings = QuerySettings()
    paths: PathSettings = PathSettings()
    source: Path | None = None
    enrolment: Enrolment | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The device's labels: its own go before those that the hub gave it."""
        return {**(self.enrolment.labels if self.enrolment else {}), **self.device.labels}

    @property
    def state_folder(self) -> Path:
        return self._folder(self.paths.state, places.state_folder(self.is_system))

    @property
    def runtime_folder(self) -> Path:
        return self._folder(self.paths.runtime, places.runtime_folder(self.is_system))

    @property
    def credentials_file(self) -> Path:
        return self.state_folder / Path(self.hub.credentials).expanduser()

    @property
    def authorities_file(self) -> Path | None:
        """Whom to trust for TLS, None for the system's authorities. Looked at anew each time: it comes with the enrolment."""
        named = self.state_folder / Path(self.hub.authorities or "authorities.pem").expanduser()
        return named if self.hub.authorities or places.is_there(named) else None

    @property
    def status_file(self) -> Path:
        return self.runtime_folder / "status.json"

    @property
    def is_system(self) -> bool:
        """Whether this is the machine's own installation rather than one person's."""
        return self.source == places.SYSTEM_SETTINGS

    def _folder(self, named: str, default: Path) -> Path:
        if not named:
            return default
        base = self.source.parent if self.source else Path.cwd()
        return (base / Path(named).expanduser()).resolve()


#: The sections of the file, in the order in which docs/settings.md shows them.
SECTIONS: dict[str, type[_Section]] = {
    "device": DeviceSettings,
    "hub": HubSettings,
    "leaf": LeafSettings,
    "agent": AgentSettings,
    "query": QuerySettings,
    "paths": PathSettings,
}


def load(named: Path | None = None) -> Settings:
    """Read the settings file.

    named: the file to read; it must exist, unless it is the system's. None: the system's (/etc/edgeagent/agent.toml) if it is there or
    we are root, else the user's; a missing file then means all defaults.
    Where it leaves them out, the device's id and how to reach the hub come from the enrolment.
    Raises SettingsProblem with every problem in the file, EdgeError when the enrolment is damaged.
    """
    own = load_own(named)
    found = enrolled.read_if_allowed(own.state_folder)
    if found is None:
        return own
    device = msgspec.structs.replace(own.device, id=own.device.id or found.id)
    # An address and the way to it belong together.
    hub = own.hub if own.hub.urls else msgspec.structs.replace(own.hub, urls=found.urls, proxy=own.hub.proxy or found.proxy)
    return msgspec.structs.replace(own, device=device, hub=hub, enrolment=found)


def load_own(named: Path | None = None) -> Settings:
    """Like :func:`load`, without the enrolment: what the file itself says."""
    path = (named or places.settings_file()).absolute()
    if named in (None, places.SYSTEM_SETTINGS) and not places.is_there(path):
        return Settings(source=path)
    return parse(read_text(path), path)


def parse(text: str, source: Path) -> Settings:
    """Like :func:`load_own`, for a text that was read already."""
    return Settings(**parse_sections(text, SECTIONS, source), source=source)
