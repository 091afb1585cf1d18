"""Hands the hub's certificate authorities out to the devices: the document ``trust.authorities``, always what they are now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from edgeagent import subjects, wire
from edgeagent.direct import get_last
from edgeagent.enrolment import Authorities
from edgeagent.errors import EdgeError
from edgeagent.fenced import stored_if
from edgeagent.hub.authorities import split
from edgeagent.hub.bucket import PREFIX
from edgeagent.link import Client
from edgeagent.runtime import jittered

__all__ = ["hand_out", "is_behind", "keep_handing_out"]

log = logging.getLogger("edgeagent.hub")

#: How often to look whether they are others now, in seconds. The look is a file and a Direct Get.
LOOK_SECONDS = 10.0

_STREAM = f"KV_{subjects.TRUST_BUCKET}"
_SUBJECT = subjects.document(subjects.AUTHORITIES)
_WHAT = "hand out the hub's certificate authorities"


async def hand_out(hub: Client, text: str, *, apart: bool = False) -> bool:
    """Store the authorities unless they are stored already; whether it was necessary.

    hub: a connection to the account HUB. text: PEM, the newest at last; empty where everybody's system knows them.
    apart: each server of a cluster keeps its own copy of them, so another may know better: :func:`is_behind`.
    Several instances may do it at once: they store the same. Raises EdgeError when it can't be stored.
    """
    wanted = wire.encode(Authorities(authorities=split(text)))
    found = await get_last(hub, _STREAM, _SUBJECT, prefix=PREFIX)
    if (found is None and not text) or (found is not None and found.data == wanted):
        return False
    if apart and found is not None and is_behind(split(text), wire.decode(found.data, Authorities).authorities):
        return False
    sequence = found.sequence if found else 0
    # None: another instance was first.
    return await stored_if(hub, _SUBJECT, wanted, sequence, stream=_STREAM, prefix=PREFIX, what=_WHAT) is not None


def is_behind(ours: Sequence[str], stored: Sequence[str]) -> bool:
    """Whether whoever stored the others knows more: one that is newer than all of ours, or that older ones have had their time.

    Without this two servers would store theirs by turns for as long as a new authority was not copied to one of them. Pure.
    """
    if not stored:
        return False
    return stored[-1] not in ours or (len(stored) < len(ours) and list(ours[-len(stored) :]) == list(stored))


async def keep_handing_out(hub: Client, current: Callable[[], str], *, apart: bool = False) -> None:
    """Do so for ever. current: gives the authorities, as :func:`edgeagent.hub.authorities.current`. apart: as for :func:`hand_out`."""
    while True:
        try:
            if await hand_out(hub, current(), apart=apart):
                log.info("the hub's certificate authorities are handed out to the devices")
        except EdgeError as error:
            log.warning("%s", error)
        await asyncio.sleep(jittered(LOOK_SECONDS))
