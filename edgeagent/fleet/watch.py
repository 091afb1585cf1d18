"""Watching the fleet: what the hub stores is republished live, and only what is stored is seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timezone
from typing import Any, NamedTuple

from edgeagent import subjects, wire
from edgeagent.errors import EdgeError
from edgeagent.link import Client, settle
from edgeagent.times import parse_rfc3339

__all__ = ["Change", "watch"]

#: How often to look whether the hub is still there, in seconds.
LOOK_SECONDS = 0.5


class Change(NamedTuple):
    """Something new about a device. what: ``online``, ``offline`` or ``report``. detail: the reason of an end, or the facts.

    With an empty id: ``hub lost``, and ``hub back``; what changed in between was missed.
    """

    time: datetime
    id: str
    what: str
    detail: str | wire.Facts


async def watch(client: Client, ready: Callable[[], None] = lambda: None) -> AsyncGenerator[Change, None]:
    """Changes as they come, for ever. ready: called once the hub knows that we listen; no change after that is missed."""
    changes: asyncio.Queue[Change] = asyncio.Queue()

    async def heard(message: Any) -> None:
        change = _read(message)
        if change is not None:
            changes.put_nowait(change)

    # Not edge.live.*.*: heartbeats and metrics would come along, to be thrown away.
    subscriptions = [await client.subscribe(subjects.live("*", what), cb=heard) for what in ("presence", "report")]
    link = asyncio.create_task(_follow_link(client, changes), name="watch the link")
    try:
        await settle(client, what="watch the fleet")
        ready()
        while True:
            yield await changes.get()
    finally:
        link.cancel()
        for subscription in subscriptions:
            await subscription.unsubscribe()


async def _follow_link(client: Client, changes: asyncio.Queue[Change]) -> None:
    """Say so when the hub is away: what changes meanwhile is not seen."""
    connected = True
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if client.is_connected != connected:
            connected = client.is_connected
            changes.put_nowait(Change(datetime.now(timezone.utc), "", "hub back" if connected else "hub lost", ""))


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
