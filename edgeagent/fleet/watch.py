"""Watching the fleet: what the hub stores is republished live, and only what is stored is seen."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timezone
from typing import Any, NamedTuple

from edgeagent import subjects, wire
from edgeagent.errors import EdgeError
from edgeagent.link import Client, settle
from edgeagent.times import parse_rfc3339

__all__ = ["Change", "watch"]


class Change(NamedTuple):
    """Something new about a device. what: ``online``, ``offline`` or ``report``. detail: the reason of an end, or the facts."""

    time: datetime
    id: str
    what: str
    detail: str | wire.Facts


async def watch(client: Client, ready: Callable[[], None] = lambda: None) -> AsyncGenerator[Change, None]:
    """Changes as they come, for ever. ready: called once the hub knows that we listen; no change after that is missed."""
    subscription = await client.subscribe(subjects.live("*", "*"))
    try:
        await settle(client, what="watch the fleet")
        ready()
        async for message in subscription.messages:
            change = _read(message)
            if change is not None:
                yield change
    finally:
        await subscription.unsubscribe()


def _read(message: Any) -> Change | None:
    device, what = subjects.device_of(message.subject), message.subject.split(".")[3]
    headers = message.headers or {}
    if not subjects.is_id(device) or device not in headers.get("Nats-Subject", "").split("."):
        return None  # what the hub republishes names the subject it was stored under
    moment = parse_rfc3339(headers["Nats-Time-Stamp"]) if "Nats-Time-Stamp" in headers else datetime.now(timezone.utc)
    try:
        if what == "presence":
            presence = wire.decode(message.data, wire.Presence)
            return Change(parse_rfc3339(presence.since), device, "online" if presence.online else "offline", presence.reason)
        if what == "report":
            return Change(moment, device, "report", wire.decode(message.data, wire.Report).facts)
    except (EdgeError, ValueError):
        pass  # of a version that we can't read: nothing to show
    return None
