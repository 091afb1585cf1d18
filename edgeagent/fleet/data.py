"""Messages of the devices' own programs, as the hub keeps them: what there was, and what comes now."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from edgeagent.cel import Evaluator
from edgeagent.chunk import decode_data
from edgeagent.direct import Stored
from edgeagent.errors import Failed, UsageProblem
from edgeagent.fleet.chosen import ALLOWED, Whose, chosen
from edgeagent.fleet.following import follow_since
from edgeagent.fleet.leftout import LeftOut, latest_of
from edgeagent.fleet.storedchunks import Moment, before, begin_at, span, stored
from edgeagent.fleet.timewindow import Window
from edgeagent.subjects import DATA, data, device_of

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["Data", "DataMessage", "Topics", "messages"]

#: Room for putting messages in order, in bytes, and what a message costs beside its own.
ROOM_BYTES, EACH_BYTES = 16 << 20, 400
#: One chunk has at most so many messages: of a device of ours 512 bytes of head and body each, or far fewer.
MAX_MESSAGES = 20_000


class DataMessage(NamedTuple):
    """topic: the tokens after ``local.data.``. time_ms: when the device stored it, Unix milliseconds. sequence, place: of its chunk on
    the hub, and in that: no two messages have the same."""

    device: str
    topic: str
    time_ms: int
    body: bytes
    sequence: int
    place: int


#: Before a topic, in the subject that a program publishes to.
_ON_THE_DEVICE = "local.data."


class Topics:
    """A pattern of topics: tokens, ``*`` for any one, ``>`` at the end for one or more. Raises UsageProblem for what is none."""

    def __init__(self, pattern: str) -> None:
        self._tokens = pattern.split(".")
        if not all(self._tokens) or ">" in self._tokens[:-1] or any(char.isspace() for char in pattern):
            remedy = "write tokens with dots between them; * is any one, > at the end is one or more, such as 'doors.*' or '>'"
            raise UsageProblem(f"read the topic {pattern!r}", "it is no topic", remedy)
        if pattern.startswith(_ON_THE_DEVICE):
            short = pattern.removeprefix(_ON_THE_DEVICE)
            raise UsageProblem(f"read the topic {pattern!r}", f"a topic is what follows {_ON_THE_DEVICE}", f"write {short!r}")

    def match(self, topic: str) -> bool:
        """Whether ``topic`` is one of them."""
        found, wanted = topic.split("."), self._tokens
        if wanted[-1] == ">":
            wanted = wanted[:-1]
            if len(found) <= len(wanted):
                return False
            found = found[: len(wanted)]
        return len(found) == len(wanted) and all(want in ("*", token) for want, token in zip(wanted, found, strict=True))


def messages(stored: Stored, left: LeftOut) -> list[DataMessage]:
    """The messages of one chunk by their times. A chunk that does not hold together has none; ``left`` is told. Pure."""
    device, latest = device_of(stored.subject), latest_of(stored)
    try:
        chunk, bodies = decode_data(stored.data)
        if len(chunk.of) > MAX_MESSAGES:
            raise Failed("read a chunk", f"it has {len(chunk.of)} messages")
    except Failed as error:
        left.spoil(device, error.why)
        return []
    told = [
        DataMessage(device, topic, time_ms, body, stored.sequence, index)
        for index, (topic, time_ms, body) in enumerate(bodies)
        if 0 <= time_ms <= latest
    ]
    left.count_ahead(device, len(bodies) - len(told))
    return sorted(told, key=lambda message: message.time_ms)


class Data:
    """The messages of a fleet's programs, read by any person. topic: as of :class:`Topics`."""

    def __init__(self, fleet: Fleet, evaluator: Evaluator) -> None:
        self._fleet, self._evaluator = fleet, evaluator

    async def history(
        self,
        topic: str,
        whose: Whose = ALLOWED,
        *,
        since: Moment,
        until: Moment | None = None,
        left: LeftOut | None = None,
        on_chunk: Callable[[Stored], None] = lambda chunk: None,
    ) -> AsyncGenerator[DataMessage, None]:
        """The messages from ``since`` to ``until`` (None: now), in the order of their times. Arguments as of Metrics.batches."""
        left, topics = left or LeftOut(), Topics(topic)
        client, devices = self._fleet.client, await chosen(self._fleet, self._evaluator, whose, DATA, data, left)
        begin, end = await span(client, since, until)
        first, last = begin.timestamp() * 1000, end.timestamp() * 1000
        window = Window[DataMessage](left, ROOM_BYTES, lambda message: len(message.body) + EACH_BYTES)
        async with aclosing(stored(client, DATA, data, devices, since=before(begin))) as chunks:
            async for chunk in chunks:
                on_chunk(chunk)
                found = messages(chunk, left)
                for message in window.add(m for m in found if first <= m.time_ms < last and topics.match(m.topic)):
                    yield message
        for message in window.rest():
            yield message

    async def tail(
        self,
        topic: str,
        whose: Whose = ALLOWED,
        *,
        since: Moment | None = None,
        left: LeftOut | None = None,
        ready: Callable[[], None] = lambda: None,
        on_link: Callable[[bool], None] = lambda there: None,
    ) -> AsyncGenerator[DataMessage, None]:
        """Messages as the hub stores them from now on, once each, for ever. Arguments as of Metrics.tail."""
        left, topics = left or LeftOut(), Topics(topic)
        devices = await chosen(self._fleet, self._evaluator, whose, DATA, data, left)
        client = self._fleet.client
        begin = None if since is None else await begin_at(client, since)
        async with aclosing(
            follow_since(client, DATA, "data", data, devices, begin=begin, ready=ready, on_link=on_link)
        ) as chunks:
            async for chunk in chunks:
                for message in messages(chunk, left):
                    if topics.match(message.topic):
                        yield message
