"""Storing in the hub's streams: a message counts once JetStream has acknowledged it."""

from __future__ import annotations

import json
from typing import Any

from edgeagent.errors import Failed
from edgeagent.link import Client, request

__all__ = ["published", "published_if"]

#: How long to wait for the hub's acknowledgement, in seconds.
ACK_TIMEOUT_SECONDS = 5.0
#: nats-server's word for a fence that did not hold (``err_code``).
_WRONG_LAST_SEQUENCE = 10071


async def published(client: Client, subject: str, data: bytes, *, what: str = "") -> int:
    """Publish to a stream of the hub; the sequence it was stored under.

    what: as for :class:`EdgeError`; empty: to store the subject. Raises EdgeError when it was not stored.
    """
    what = what or f"store {subject}"
    return _sequence(await _ack(client, subject, data, what, None), what)


async def published_if(client: Client, subject: str, data: bytes, sequence: int, *, what: str) -> int | None:
    """The same if the last message on ``subject`` has ``sequence`` (0: there is none); None when it has not, so nothing was stored.

    A fence is no lock: whoever gets None reads again and decides anew. Raises EdgeError when it was not stored for another reason.
    """
    ack = await _ack(client, subject, data, what, {"Nats-Expected-Last-Subject-Sequence": str(sequence)})
    if (ack.get("error") or {}).get("err_code") == _WRONG_LAST_SEQUENCE:
        return None
    return _sequence(ack, what)


async def _ack(client: Client, subject: str, data: bytes, what: str, headers: dict[str, str] | None) -> dict[str, Any]:
    answer = await request(client, subject, data, what=what, timeout=ACK_TIMEOUT_SECONDS, headers=headers)
    ack: dict[str, Any] = json.loads(answer.data)
    return ack


def _sequence(ack: dict[str, Any], what: str) -> int:
    if error := ack.get("error"):
        raise Failed(what, str(error.get("description", error)))
    return int(ack["seq"])
