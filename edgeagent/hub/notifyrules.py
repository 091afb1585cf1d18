"""Which events people are told of, and which not again: an alert is told once when it is raised and once when it is cleared. Pure.

What is open follows from the events in their order and from nothing else, so every instance of the hub's services comes to the same
result, also after a restart.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, NamedTuple

from edgeagent import subjects, wire
from edgeagent.hub.streams import SEVERITIES
from edgeagent.times import parse_rfc3339

__all__ = ["BACK", "HUB_ENDS", "LOST", "TOLD", "Notice", "OpenAlerts", "is_wanted", "trial"]

#: Kinds of the hub's own events: devices that were lost or are back, many of them in one.
LOST, BACK = "devices.lost", "devices.back"
LOST_SEVERITY = "warning"
#: Other events of the hub that end something, and what.
HUB_ENDS = {"hub.store_back": "hub.store_full"}
#: In the data of an event of the hub that was told before it was stored: the webhooks that took it.
TOLD = "told"
#: Alerts of devices (docs/wire.md, "Events"): kinds ``alert.<name>.raised`` and ``alert.<name>.cleared``.
ALERT = "alert"
_RAISED, _CLEARED = "raised", "cleared"
_ALERT_KIND = re.compile(rf"{ALERT}\.(.+)\.({_RAISED}|{_CLEARED})\Z", re.DOTALL)
#: Alerts of one device that may be open, and of all together. What has no room is told every time.
MAX_OPEN, MAX_OPEN_IN_ALL = 64, 100_000
MAX_NAME = 300


class Notice(NamedTuple):
    """What somebody is told. device: whom it is about; ``hub``: the hub itself. severity: of its beginning, if it is an end.

    alert: of an alert, which one. devices: for LOST and BACK. resolved: it is over. lasting: there will be
    an end of it. told: the webhooks that had it before it was stored.
    """

    device: str
    severity: str
    kind: str
    text: str
    time: str
    alert: str = ""
    devices: tuple[str, ...] = ()
    resolved: bool = False
    lasting: bool = False
    told: tuple[str, ...] = ()


class OpenAlerts:
    """Is given every event, in the order in which the hub stored them."""

    def __init__(self) -> None:
        self._open: dict[str, OrderedDict[str, str]] = {}
        self._count = 0
        self._of_hub: dict[str, str] = {}

    def take(self, device: str, severity: str, event: wire.Event, time: str) -> Notice | None:
        """What is to be told of it; None: nothing. time: when the hub stored it, RFC 3339."""
        notice = Notice(device, severity, event.kind[:MAX_NAME], event.text, _believed(event.time, time))
        if event.kind in (LOST, BACK):
            if device != subjects.HUB:
                return notice  # a device's own words for something else
            back, devices = event.kind == BACK, _names(event.data, "devices")
            return notice._replace(severity=LOST_SEVERITY, devices=devices, resolved=back, lasting=True)
        if device == subjects.HUB:
            return self._of_the_hub(notice._replace(told=_names(event.data, TOLD)))
        found = _ALERT_KIND.match(event.kind)
        if found is None:
            return notice
        notice = notice._replace(kind=ALERT, alert=_alert(found[1], event.data), lasting=True)
        if found[2] == _RAISED:
            return notice if self._raise(device, notice.alert, severity) else None
        began = self._clear(device, notice.alert)
        return notice._replace(severity=began, resolved=True) if began else None

    def _of_the_hub(self, notice: Notice) -> Notice:
        """What has an end lasts; the end is told as that of its beginning."""
        if notice.kind in HUB_ENDS.values():
            self._of_hub[notice.kind] = notice.severity
            return notice._replace(lasting=True)
        beginning = HUB_ENDS.get(notice.kind, "")
        severity = self._of_hub.pop(beginning, "")
        return notice._replace(kind=beginning, severity=severity, resolved=True, lasting=True) if severity else notice

    def _raise(self, device: str, key: str, severity: str) -> bool:
        """Whether it is news."""
        table = self._open.setdefault(device, OrderedDict())
        if key in table:
            return False
        if len(table) < MAX_OPEN and self._count < MAX_OPEN_IN_ALL:
            table[key] = severity
            self._count += 1
        return True

    def _clear(self, device: str, key: str) -> str:
        """The severity with which it was raised; empty: it was not."""
        table = self._open.get(device, OrderedDict())
        severity = table.pop(key, "")
        self._count -= bool(severity)
        if not table:
            self._open.pop(device, None)
        return severity


def is_wanted(notice: Notice, minimum: str) -> bool:
    """Whether it is as bad as ``minimum`` at least."""
    return SEVERITIES.index(notice.severity) >= SEVERITIES.index(minimum)


def trial(hub: str, time: str) -> Notice:
    """What `edgeagent hub notify test` sends."""
    text = f"this is a test of the hub {hub}: whoever reads it would be told of alerts and lost devices"
    return Notice(subjects.HUB, "info", "notify.test", text, time)


def _believed(own: str, stored: str) -> str:
    """When it happened: by the sender's clock, unless that says nothing, or more than is possible."""
    try:
        return own if parse_rfc3339(own) <= parse_rfc3339(stored) else stored
    except (ValueError, OverflowError):
        return stored


def _alert(name: str, data: dict[str, Any]) -> str:
    """What the device calls it: ``hot``, or ``hot{hw.id="cpu"}`` where one rule may watch several series."""
    said = data.get("alert")
    return (said if isinstance(said, str) and said else name)[:MAX_NAME]


def _names(data: dict[str, Any], key: str) -> tuple[str, ...]:
    found = data.get(key, [])
    return tuple(name for name in found if isinstance(name, str)) if isinstance(found, list) else ()
