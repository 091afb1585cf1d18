"""Events of the hub itself: stored among those of the devices, as if of a device called ``hub``, and logged."""

from __future__ import annotations

import logging
from typing import Any

from edgeagent import subjects, wire
from edgeagent.errors import EdgeError
from edgeagent.link import Client
from edgeagent.publish import published

__all__ = ["tell"]

log = logging.getLogger("edgeagent.hub")

_WHAT = "store an event of the hub"


async def tell(hub: Client, severity: str, kind: str, text: str, **data: Any) -> None:
    """Store and log the event. What it tells of has happened already, so a failure to store it is only logged.

    hub: a connection to the account HUB. severity: one of :data:`edgeagent.hub.streams.SEVERITIES`.
    kind, text, data: as in :class:`edgeagent.wire.Event`; data must be JSON, and hold nothing secret.
    """
    log.log(logging.getLevelName(severity.upper()), "%s", text)
    event = wire.Event(kind=kind, text=text, data=data)
    try:
        await published(hub, subjects.event(subjects.HUB, severity), wire.encode(event), what=_WHAT)
    except EdgeError as error:
        log.warning("%s", error)
