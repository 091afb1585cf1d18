"""What devices store on the hub from now on, each message once: also what came while the link was away, or too fast for the reader."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, NamedTuple

import nats.errors

from edgeagent import subjects
from edgeagent.direct import Stored, republished
from edgeagent.errors import Closed, EdgeError, Failed
from edgeagent.fleet.storedchunks import stored
from edgeagent.link import Client, settle
from edgeagent.patience import asked
from edgeagent.runtime import woken

__all__ = ["End", "end_of", "follow", "follow_since", "last_sequence"]

#: What waits for a slow reader, in bytes, and what a message has beside its own; then the rest is read from the stream when its turn comes.
WAITING_BYTES, EACH_BYTES = 16 << 20, 1000
#: How often to look whether the hub is still there, in seconds.
LOOK_SECONDS = 0.5
#: A person has 100 subscriptions; who watches more devices than this hears all.
MOST_SUBSCRIPTIONS = 50


async def follow(
    client: Client,
    stream: str,
    what: str,
    subject: Callable[[str], str],
    devices: Sequence[str] | None,
    *,
    after: int | None = None,
    ready: Callable[[], None] = lambda: None,
    on_link: Callable[[bool], None] = lambda there: None,
) -> AsyncGenerator[Stored, None]:
    """Messages as the hub stores them, in its order, for ever.

    what: the tokens after ``edge.live.<id>.``. subject, devices: as of :func:`stored`. after: the sequence of the last message that
    is not wanted; None: what there is now. ready: called when nothing that is stored from now on will be missed. on_link: called
    with False when the hub is away, and True when it is back.
    """
    ear = _Ear(client, stream, WAITING_BYTES)
    wanted = None if devices is None else frozenset(devices)
    names = ["*"] if devices is None or len(devices) > MOST_SUBSCRIPTIONS else devices
    subscriptions = [await client.subscribe(subjects.live(name, what), cb=ear.hear) for name in names]
    link = asyncio.create_task(ear.follow_link(on_link), name="follow the link")
    try:
        await settle(client, what="follow what devices send")
        begun = await end_of(client, stream)
        seen = begun.sequence if after is None else after
        ear.missed = after is not None  # between reading what there was and listening, there may be more
        ready()
        while True:
            message = await ear.next()
            if message is not None:
                if message.sequence > seen and (wanted is None or subjects.device_of(message.subject) in wanted):
                    yield message
                seen = max(seen, message.sequence)
                continue
            begun, seen = await _again(client, stream, begun, seen)
            async with aclosing(stored(client, stream, subject, devices, first=seen + 1)) as rest:
                async for message in rest:
                    seen = message.sequence
                    yield message
    finally:
        link.cancel()
        for subscription in subscriptions:
            with contextlib.suppress(nats.errors.Error):  # the connection may be gone already
                await subscription.unsubscribe()


async def follow_since(
    client: Client,
    stream: str,
    what: str,
    subject: Callable[[str], str],
    devices: Sequence[str] | None,
    *,
    begin: datetime | None,
    ready: Callable[[], None] = lambda: None,
    on_link: Callable[[bool], None] = lambda there: None,
) -> AsyncGenerator[Stored, None]:
    """What was stored from ``begin`` on, then what comes, as :func:`follow` tells it. begin: None: only that."""
    after = None
    if begin is not None:
        after = await last_sequence(client, stream)
        async with aclosing(stored(client, stream, subject, devices, since=begin)) as earlier:
            async for message in earlier:
                after = max(after, message.sequence)
                yield message
    following = follow(client, stream, what, subject, devices, after=after, ready=ready, on_link=on_link)
    async with aclosing(following):
        async for message in following:
            yield message


class _Ear:
    """The live messages that wait. missed: the stream has more of them than were heard, so it must be read."""

    def __init__(self, client: Client, stream: str, room: int) -> None:
        self._client, self._stream, self._room = client, stream, room
        self._waiting: asyncio.Queue[Stored] = asyncio.Queue()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._links = client.stats["reconnects"]
        self.missed = False

    async def hear(self, message: Any) -> None:
        self.notice_link()
        if self.missed:
            return  # it is in the stream too, behind those that have no room
        found = republished(message)
        # A person can aim what another stream has at this view: its sequence would hide all that comes before that here.
        if found is None or found.headers.get("Nats-Stream") != self._stream:
            return
        if self._bytes + _cost(found) > self._room:
            self.missed = True
        else:
            self._bytes += _cost(found)
            self._waiting.put_nowait(found)
        self._wake.set()

    async def next(self) -> Stored | None:
        """The next message; None: the stream is to be read after the last one."""
        while True:
            if not self._waiting.empty():
                message = self._waiting.get_nowait()
                self._bytes -= _cost(message)
                return message
            if self._client.is_closed:
                raise Closed("follow what devices send", "the connection is closed")
            if self.missed and self._client.is_connected:
                self.missed = False  # what is heard from now on is not lost, and told once by its sequence
                return None
            self._wake.clear()
            await woken(self._wake, LOOK_SECONDS)

    def notice_link(self) -> None:
        """A link that came back has not brought what was sent meanwhile."""
        if self._client.stats["reconnects"] != self._links:
            self._links, self.missed = self._client.stats["reconnects"], True

    async def follow_link(self, on_link: Callable[[bool], None]) -> None:
        connected = True
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.notice_link()
            if self._client.is_connected != connected:
                connected = self._client.is_connected
                on_link(connected)


def _cost(message: Stored) -> int:
    """What it takes of the room, with its headers."""
    return len(message.data) + EACH_BYTES


class End(NamedTuple):
    """Where a stream ends: the sequence of its newest message, 0 when it never had one; created: when it was made, as the hub says it."""

    created: str
    sequence: int


async def last_sequence(client: Client, stream: str) -> int:
    """The sequence of the newest message of ``stream``, 0 when it never had one."""
    return (await end_of(client, stream)).sequence


async def end_of(client: Client, stream: str) -> End:
    """Raises EdgeError."""
    what = f"ask the hub for the end of {stream}"
    answer = json.loads((await asked(client, f"{subjects.API_PREFIX}.STREAM.INFO.{stream}", what=what)).data)
    if "error" in answer:
        raise Failed(what, str(answer["error"].get("description", "unknown error")))
    return End(str(answer.get("created", "")), int(answer["state"]["last_seq"]))


async def _again(client: Client, stream: str, begun: End, seen: int) -> tuple[End, int]:
    """After the link was lost: where the stream is to be read on. One that was made anew has nothing that was seen; one that was put
    back from a copy of before counts on from there."""
    now = await _patiently(client, stream)
    return now, 0 if now.created != begun.created else min(seen, now.sequence)


async def _patiently(client: Client, stream: str) -> End:
    """A hub that lost its store makes its streams again a moment after it is there."""
    while True:
        try:
            return await end_of(client, stream)
        except Closed:
            raise
        except EdgeError:
            await asyncio.sleep(LOOK_SECONDS)
