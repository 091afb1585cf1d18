"""Whether a hub works for this device: a visit with the device's own login, beside its link, that has a heartbeat stored there."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from edgeagent import files, servers, subjects
from edgeagent.assembly.reach import endpoint, silence
from edgeagent.errors import EdgeError, Unreachable
from edgeagent.identity import Identity
from edgeagent.leaf.visit import NotLinked, Visit, VisitOptions
from edgeagent.natsserver import binary
from edgeagent.settings import Settings
from edgeagent.trust import creds
from edgeagent.wire import Heartbeat, encode

__all__ = ["Found", "look"]

#: For a connection, for the link, and for the hub's word that it has stored a heartbeat, in seconds. A leaf's dial takes 10 s at most.
CONNECT_SECONDS, LINK_SECONDS, ANSWER_SECONDS = 5.0, 12.0, 10.0


class Found(NamedTuple):
    """why: it does not work; empty: it does, or only the leaf itself can tell. is_certain: a second look would show the same."""

    why: str = ""
    is_certain: bool = True


async def look(entry: str, settings: Settings, identity: Identity, *, has_another: bool) -> Found:
    """entry: of ``hub.urls``. has_another: this device's link works, with the same login."""
    if why := await _silence(entry, settings.hub.proxy):
        return Found(why, is_certain=False)
    try:
        options = _options(entry, settings, identity)
    except EdgeError as error:
        return Found() if has_another else Found(str(error), is_certain=False)  # the leaf's own try has a way back
    try:
        async with Visit(options) as visit:
            await visit.linked()
            await _store(visit, identity)
    except NotLinked as error:
        if error.failure.kind == "refused" and not has_another and _has_expired(settings):
            return Found()  # the renewal of the credentials begins where the leaf is
        return Found(error.why, is_certain=error.failure.kind not in ("silence", "full"))
    except EdgeError as error:
        return Found(f"it lets this device in, but stores nothing ({error.why})", is_certain=not isinstance(error, Unreachable))
    return Found()


async def _silence(entry: str, proxy: str) -> str:
    """Why none of the servers takes a connection; empty when one does."""
    found = await asyncio.gather(*(silence(*endpoint(url, proxy), CONNECT_SECONDS) for url in servers.split(entry)))
    return "" if not all(found) else "; ".join(dict.fromkeys(found))


def _options(entry: str, settings: Settings, identity: Identity) -> VisitOptions:
    authorities = settings.authorities_file
    return VisitOptions(
        folder=settings.state_folder / "hub-visit",
        binary=binary.find(settings.leaf.server).path,
        url=entry,
        inbox_prefix=subjects.agent_inbox(identity.id),
        credentials=files.read_text(settings.credentials_file),
        proxy=settings.hub.proxy,
        authorities=files.read_text(authorities) if authorities else "",
        server_name=f"{identity.server_name}{subjects.VISITING}",
        link_seconds=LINK_SECONDS,
    )


async def _store(visit: Visit, identity: Identity) -> None:
    what = "say that this device is alive"
    await visit.stored(subjects.heartbeat(identity.id), encode(Heartbeat()), what=what, timeout=ANSWER_SECONDS)


def _has_expired(settings: Settings) -> bool:
    try:
        ends = creds.unchecked(settings.credentials_file).expires_at
    except EdgeError:
        return True
    return ends is not None and ends <= time.time()
