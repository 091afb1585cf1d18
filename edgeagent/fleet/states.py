"""What is known of a device, and what that makes of it: online, suspect, offline, never seen, revoked. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from edgeagent import wire
from edgeagent.times import parse_rfc3339

__all__ = ["Known", "State", "state_of"]

#: Heartbeats that may be missed before a device is suspect, and before it counts as offline. The first has room for their jitter.
SUSPECT_AFTER_HEARTBEATS = 2.25
OFFLINE_AFTER_HEARTBEATS = 3.0
#: The bounds of the setting `agent.heartbeat_seconds`: whatever else a device says of itself, it cannot stay online for years.
HEARTBEAT_BOUNDS_SECONDS = (1.0, 3600.0)


class State(str, Enum):
    ONLINE = "online"
    SUSPECT = "suspect"
    OFFLINE = "offline"
    NEVER_SEEN = "never seen"
    REVOKED = "revoked"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Known:
    """All that the hub keeps about one device. Times are the hub's.

    heard: when the newest report or heartbeat was stored. reported: when the report was.
    """

    id: str
    record: wire.DeviceRecord | None = None
    presence: wire.Presence | None = None
    report: wire.Report | None = None
    reported: datetime | None = None
    heard: datetime | None = None
    heartbeat_seconds: float = field(default=60.0)

    @property
    def facts(self) -> wire.Facts | None:
        return self.report.facts if self.report else None

    @property
    def config(self) -> wire.ConfigState | None:
        """What it last said of its configuration; None when it never did."""
        return self.report.config if self.report else None

    @property
    def groups(self) -> list[str]:
        if self.record:
            return self.record.groups
        groups = (self.facts or {}).get("groups", [])
        return [name for name in groups if isinstance(name, str)] if isinstance(groups, list) else []

    @property
    def gone_since(self) -> datetime | None:
        """When the hub's server saw the connection end, unless the device was heard after that."""
        if self.presence is None or self.presence.online:
            return None
        since = parse_rfc3339(self.presence.since)
        return None if self.heard and self.heard > since else since

    @property
    def last_seen(self) -> datetime | None:
        """The last moment at which the device was certainly there."""
        if self.gone_since and self.presence and self.presence.reason not in STALE_REASONS:
            return max(self.gone_since, self.heard) if self.heard else self.gone_since
        return self.heard

    def heard_at(self, moment: datetime, heartbeat_seconds: float) -> Known:
        """The same, with one more sign of life."""
        newest = max(self.heard, moment) if self.heard else moment
        least, most = HEARTBEAT_BOUNDS_SECONDS
        return replace(self, heard=newest, heartbeat_seconds=min(most, max(least, heartbeat_seconds)))


#: Ends of a connection that the server only concluded from silence: the device left some time before.
STALE_REASONS = frozenset({"Stale Connection", "unknown"})


def state_of(known: Known, now: datetime, *, silent_since: datetime | None = None) -> State:
    """The device's state.

    now: the hub's clock. silent_since: it did not answer a query although it seemed online, and had last been heard then.
    """
    if known.record and known.record.revoked:
        return State.REVOKED
    if known.heard is None and not (known.presence and known.presence.online):
        return State.NEVER_SEEN if known.presence is None else State.OFFLINE
    if known.gone_since:
        return State.OFFLINE
    return _by_age(known, now, silent_since)


def _by_age(known: Known, now: datetime, silent_since: datetime | None) -> State:
    signs = [known.heard] if known.heard else []
    if known.presence and known.presence.online:
        signs.append(parse_rfc3339(known.presence.since))
    quiet = now - max(signs)
    if quiet > timedelta(seconds=OFFLINE_AFTER_HEARTBEATS * known.heartbeat_seconds):
        return State.OFFLINE
    if quiet > timedelta(seconds=SUSPECT_AFTER_HEARTBEATS * known.heartbeat_seconds):
        return State.SUSPECT
    return State.SUSPECT if silent_since and max(signs) <= silent_since else State.ONLINE
