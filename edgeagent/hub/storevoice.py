"""Closes the streams of a store whose disk is full, and answers in the place of those that are silent because the hub's disk is full: whoever writes or
reads hears why, at once.

What fits into the rest of a block is still stored on a full disk, so some commands would be taken whose outcome has no room, and EDGE_AUDIT
that copies them would meet the full disk: then nats-server switches JetStream off, and nobody can read either. So all others are
brought to their write error first, by a message that does not fit.

Answers are given only where nobody else can answer: what lives must not be stored and refused. Instances of the services share the questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import nats.errors

from edgeagent.direct import STORE_IS_FULL
from edgeagent.errors import EdgeError
from edgeagent.hub.bucket import PREFIX, purge
from edgeagent.hub.stream import Stream
from edgeagent.hub.streams import STREAMS
from edgeagent.link import Client
from edgeagent.publish import STORE_FAILED, STORE_FULL, published

__all__ = ["StoreVoice", "close_streams"]

QUEUE = "edgeagent-store"
#: nats-server's names for the reply of a question that came by the import of a service, and for an inbox of the hub's services. An answer
#: to any other subject would be a message of ours where whoever asked chose.
_REPLIES = ("_R_.", "_INBOX.")
#: What waits to be answered at most, in bytes: a device may send as much as its link carries, and more is dropped.
_WAITING_BYTES = 8 << 20

#: More than is left of any block of a file, in bytes, and how long to wait for the acknowledgement that should not come, in seconds.
_PADDING_BYTES, _CLOSE_SECONDS = 16 << 10, 0.5
#: In the place of a wildcard of a stream's subjects; no device, group or person is concerned by what stands there.
_NOBODY = "_full"

_ERROR = {"code": 503, "err_code": STORE_FAILED, "description": STORE_FULL}


async def close_streams(hub: Client, dead: frozenset[str]) -> None:
    """Bring every stream that somebody writes to its write error, but for those that are dead. The disk must be full.

    What is stored all the same, for there is space again, is removed. hub: a connection to the account HUB.
    """
    wanted = [stream for stream in STREAMS if stream.subjects and stream.name not in dead]
    await asyncio.gather(*(_close(hub, stream) for stream in wanted))


async def _close(hub: Client, stream: Stream) -> None:
    subject = stream.subjects[0].replace("*", _NOBODY).replace(">", _NOBODY)
    size = min(stream.max_message_bytes, _PADDING_BYTES)
    with contextlib.suppress(EdgeError):
        await published(hub, subject, bytes(size), timeout=_CLOSE_SECONDS)
        await purge(hub, stream.name, subject, what=f"make room in {stream.name}")


class StoreVoice:
    """hub: a connection to the account HUB that may be busy: whatever devices send to a silent stream comes here."""

    def __init__(self, hub: Client) -> None:
        self._hub = hub
        self._subscriptions: dict[str, Any] = {}
        self.refused = 0

    async def speak_for(self, streams: frozenset[str], *, reads: bool) -> None:
        """Answer for these streams from now on, and for no others. reads: also who reads them, for JetStream is off everywhere."""
        wanted = dict(_questions(streams, reads=reads))
        for subject in [subject for subject in self._subscriptions if subject not in wanted]:
            with contextlib.suppress(nats.errors.Error):  # the connection may be gone, and the subscription with it
                await self._subscriptions.pop(subject).unsubscribe()
        for subject in [subject for subject in wanted if subject not in self._subscriptions]:
            self._subscriptions[subject] = await self._hub.subscribe(
                subject, queue=QUEUE, cb=self._refusing(wanted[subject]), pending_bytes_limit=_WAITING_BYTES
            )

    def _refusing(self, answer: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def refuse(message: Any) -> None:
            if message.reply.startswith(_REPLIES):
                self.refused += 1
                with contextlib.suppress(nats.errors.Error):  # who asked asks again
                    await answer(message)

        return refuse


def _questions(streams: frozenset[str], *, reads: bool) -> Iterator[tuple[str, Callable[[Any], Awaitable[None]]]]:
    for stream in STREAMS:
        if stream.name in streams:
            for subject in stream.subjects:
                yield subject, _refuse_write(stream.name)
            if reads:
                yield f"{PREFIX}.DIRECT.GET.{stream.name}", _refuse_read
                yield f"{PREFIX}.DIRECT.GET.{stream.name}.>", _refuse_read
                yield f"{PREFIX}.STREAM.INFO.{stream.name}", _refuse_api


def _refuse_write(stream: str) -> Callable[[Any], Awaitable[None]]:
    data = json.dumps({"error": _ERROR, "stream": stream, "seq": 0}).encode()

    async def refuse(message: Any) -> None:
        await message.respond(data)

    return refuse


async def _refuse_read(message: Any) -> None:
    await message._client.publish(message.reply, headers={"Status": STORE_IS_FULL, "Description": STORE_FULL})


async def _refuse_api(message: Any) -> None:
    await message.respond(json.dumps({"error": _ERROR}).encode())
