"""Every setting of a device, declared: its type, bounds, default, what it does, and whether the hub's configuration may change it.

docs/settings.md is made from this, :mod:`edgeagent.settings` reads agent.toml by it, and :mod:`edgeagent.config` checks with it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from edgeagent.alertsettings import AlertSettings
from edgeagent.commandsettings import (
    ActionsSettings,
    CommandSettings,
    ExecSettings,
    FileSettings,
    LogSettings,
    ServiceSettings,
)
from edgeagent.gpiosettings import GpioSettings
from edgeagent.leafsettings import HubSettings, LeafSettings
from edgeagent.metricsettings import ForwardSettings, SamplingSettings
from edgeagent.mqttsettings import MqttSettings
from edgeagent.sections import LIVE, Section
from edgeagent.serialsettings import SerialSettings
from edgeagent.subjects import ID_RULE
from edgeagent.upgradesettings import UpgradeSettings

__all__ = [
    "LABEL_KEY",
    "LABEL_KEY_RULE",
    "OPEN_SECTIONS",
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
    "SerialSettings",
    "ServiceSettings",
    "UpgradeSettings",
]

#: How a setting's word for a label looks; the value is free text. Kept narrow so that ``labels.<key>`` always reads in CEL, which
#: keeps four words for itself even after a dot.
LABEL_KEY = r"^(?!(?:true|false|null|in)\Z)[a-z_][a-z0-9_]{0,62}\Z"
LABEL_KEY_RULE = "1 to 63 of a-z, 0-9 and '_', not beginning with a digit, and not true, false, null or in"


_Label = Annotated[
    str,
    Meta(
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z",
        extra={"form": "at most 256 characters, and none of them a control character"},
    ),
]
_LabelKey = Annotated[str, Meta(pattern=LABEL_KEY, extra={"form": LABEL_KEY_RULE})]


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
    status_led: Annotated[
        str,
        Meta(
            description="An LED of the board that shows how the agent is, as it is called in `/sys/class/leds`: `ACT`. Empty: none. [monitoring.md](monitoring.md#on-the-device-itself)",
            pattern=r"^([A-Za-z0-9][A-Za-z0-9_:.-]{0,62})?\Z",
            extra={"form": "a name in /sys/class/leds such as ACT"},
        ),
    ] = ""


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
    "upgrade": UpgradeSettings,
    "gpio": GpioSettings,
    "mqtt": MqttSettings,
    "serial": SerialSettings,
    "paths": PathSettings,
}

#: Sections of any words: the type of the whole table of each. Its metadata are those of one key.
OPEN_SECTIONS: dict[str, Any] = {"alert": AlertSettings, "actions": ActionsSettings}
