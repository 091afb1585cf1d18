"""Storing in the hub's streams: a message counts once JetStream has acknowledged it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from edgeagent.errors import Failed
from edgeagent.link import Client, request
from edgeagent.wire import decode

__all__ = ["MAX_SEQUENCE", "TooLarge", "published", "published_if"]

#: How long to wait for the hub's acknowledgement where nothing else is said, in seconds.
ACK_TIMEOUT_SECONDS = 5.0
#: nats-server's words (``err_code``) for a fence that did not hold, and for a message beyond the stream's ``max_msg_size``.
_WRONG_LAST_SEQUENCE, _TOO_LARGE = 10071, 10054
#: And in a cluster alone: something else for the subject is on its way to the other servers, so it is not known yet whether the fence
#: will hold. How often it is tried again then, and the pause, in seconds: a round trip between servers.
_IN_PROCESS, _TRIES, _PAUSE_SECONDS = 10164, 10, 0.05
#: No stream comes so far, and the journal of a device has no room for larger numbers.
MAX_SEQUENCE = 1 << 53


class TooLarge(Failed):
    """The stream takes no message of that size, now or later."""


class _Error(msgspec.Struct):
    description: str = "it does not say why"
    err_code: int = 0


class _PubAck(msgspec.Struct):
    """JetStream's answer to a publish."""

    seq: int = 0
    error: _Error | None = None


async def published(
    client: Client,
    subject: str,
    data: bytes,
    *,
    what: str = "",
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> int:
    """Publish to a stream of the hub; the sequence it was stored under.

    what: as for :class:`EdgeError`; empty: to store the subject. timeout: how long to wait for the hub's word, in seconds;
    None: :data:`ACK_TIMEOUT_SECONDS`.
    Raises EdgeError when it was not stored.
    """
    what = what or f"store {subject}"
    return _sequence(await _ack(client, subject, data, what, dict(headers or {}), timeout), what)


async def published_if(
    client: Client, subject: str, data: bytes, sequence: int, *, what: str, timeout: float | None = None
) -> int | None:
    """The same if the last message on ``subject`` has ``sequence`` (0: there is none); None when it has not, so nothing was stored.

    A fence is no lock: whoever gets None reads again and decides anew. Raises EdgeError when it was not stored for another reason,
    of which :class:`TooLarge` is one.
    """
    fence = {"Nats-Expected-Last-Subject-Sequence": str(sequence)}
    ack = await _ack(client, subject, data, what, fence, timeout)
    for _ in range(_TRIES):
        if ack.error is None or ack.error.err_code != _IN_PROCESS:
            break
        await asyncio.sleep(_PAUSE_SECONDS)
        ack = await _ack(client, subject, data, what, fence, timeout)
    if ack.error is not None and ack.error.err_code in (_WRONG_LAST_SEQUENCE, _IN_PROCESS):
        return None
    return _sequence(ack, what)


async def _ack(client: Client, subject: str, data: bytes, what: str, headers: dict[str, str], timeout: float | None) -> _PubAck:
    seconds = ACK_TIMEOUT_SECONDS if timeout is None else timeout
    answer = await request(client, subject, data, what=what, timeout=seconds, headers=headers or None)
    return decode(answer.data, _PubAck)


def _sequence(ack: _PubAck, what: str) -> int:
    if ack.error is not None:
        raise (TooLarge if ack.error.err_code == _TOO_LARGE else Failed)(what, ack.error.description)
    if not 0 < ack.seq < MAX_SEQUENCE:
        raise Failed(what, "the hub's acknowledgement makes no sense")
    return ack.seq
