"""What a webhook is sent, in the shape that its receiver understands (docs/monitoring.md has an example of each). Pure.

Text in it comes from devices: everything goes into JSON, nothing into headers or addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import msgspec

from edgeagent.errors import UsageProblem
from edgeagent.hub.notifyrules import Notice
from edgeagent.times import parse_rfc3339, rfc3339

__all__ = ["Message", "message"]

#: ntfy's page "Publish as JSON": priorities from 1 to 5, tags that it shows as pictures.
_PRIORITY = {"debug": 1, "info": 2, "warning": 3, "error": 4, "critical": 5}
_TAG = {
    "debug": "mag",
    "info": "information_source",
    "warning": "warning",
    "error": "rotating_light",
    "critical": "rotating_light",
}
#: Alertmanager forgets what nobody repeats, so what lasts says that it ends in a month; what just happened, in five minutes.
_LASTS, _HAPPENED = timedelta(days=30), timedelta(minutes=5)
#: Devices of one message that get an alert each.
MAX_ALERTS = 500
MAX_TEXT = 2000


class Message(NamedTuple):
    """Where to post what. body: JSON."""

    url: str
    body: bytes


def message(shape: str, url: str, notice: Notice) -> Message:
    """shape: a format of :class:`edgeagent.hub.exportsettings.Webhook`. Raises UsageProblem for an address that does not fit it."""
    where, body = _SHAPES[shape](url, notice._replace(text=notice.text[:MAX_TEXT]))
    return Message(where, msgspec.json.encode(body))


def _title(notice: Notice) -> str:
    if notice.devices:
        return notice.text.partition(":")[0]  # "pi-02 is offline", "3 devices are online again"
    over = "over: " if notice.resolved else ""
    return f"{over}{notice.kind}{f' {notice.alert}' if notice.alert else ''} on {notice.device}"


def _json(url: str, notice: Notice) -> tuple[str, Any]:
    fields = notice._asdict()
    del fields["told"]  # the hub's own book
    return url, {"v": 1, **fields, "title": _title(notice)}


def _ntfy(url: str, notice: Notice) -> tuple[str, Any]:
    """The topic is the last word of the address."""
    parts = urlsplit(url)
    above, _, topic = parts.path.rstrip("/").rpartition("/")
    if not topic:
        raise UsageProblem("send to ntfy", "the address names no topic", "write it as https://ntfy.example/topic")
    where = urlunsplit(parts._replace(path=above or "/", query=""))
    tag = "white_check_mark" if notice.resolved else _TAG[notice.severity]
    priority = 2 if notice.resolved else _PRIORITY[notice.severity]
    return where, {"topic": topic, "title": _title(notice), "message": notice.text, "priority": priority, "tags": [tag]}


def _slack(url: str, notice: Notice) -> tuple[str, Any]:
    sign = ":white_check_mark:" if notice.resolved else f":{_TAG[notice.severity]}:"
    return url, {"text": f"{sign} *{_plain(_title(notice))}*\n{_plain(notice.text)}"}


def _plain(text: str) -> str:
    """Nothing in it means anything to Slack (its page "Formatting text": these three are all that must be escaped)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _alertmanager(url: str, notice: Notice) -> tuple[str, Any]:
    """One alert for each device: Alertmanager groups them itself, and knows an end by equal labels."""
    devices = notice.devices[:MAX_ALERTS] or (notice.device,)
    return url, [_alert(notice, device) for device in devices]


def _alert(notice: Notice, device: str) -> dict[str, Any]:
    name = "devices.lost" if notice.devices else notice.kind  # the end has the labels of its beginning
    labels = {"alertname": name, "device": device, "severity": notice.severity, "alert": notice.alert}
    time = parse_rfc3339(notice.time)
    times = {"endsAt": rfc3339(time)}
    if not notice.resolved:
        times = {"startsAt": rfc3339(time), "endsAt": rfc3339(time + (_LASTS if notice.lasting else _HAPPENED))}
    return {"labels": {key: text for key, text in labels.items() if text}, "annotations": {"summary": notice.text}, **times}


_SHAPES: dict[str, Callable[[str, Notice], tuple[str, Any]]] = {
    "json": _json,
    "ntfy": _ntfy,
    "slack": _slack,
    "alertmanager": _alertmanager,
}
