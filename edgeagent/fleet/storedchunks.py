"""What the hub has stored of devices from some moment on, by Direct Gets alone: no consumer, and nothing before that moment is read."""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from datetime import datetime, timedelta, timezone

from edgeagent.direct import Stored, hub_time, read_all
from edgeagent.errors import UsageProblem
from edgeagent.fleet.leftout import AHEAD
from edgeagent.link import Client
from edgeagent.subjects import device_of, is_id
from edgeagent.times import rfc3339

__all__ = ["AT_ONCE", "Moment", "before", "begin_at", "moment_at", "span", "stored"]

#: So many devices are read each by its own subject, which the hub has an index of; of more, all that the stream has is read and sorted
#: out here: to look for each of them in every block of the stream would take the hub longer.
AT_ONCE = 16
#: A moment, or how long before now.
Moment = datetime | timedelta


async def moment_at(client: Client, moment: Moment) -> datetime:
    """The moment itself; ``now`` is the hub's, for a laptop's clock may be wrong."""
    return moment if isinstance(moment, datetime) else await hub_time(client) - moment


async def begin_at(client: Client, since: Moment) -> datetime:
    """The moment from which on is read. Raises UsageProblem for one that is still to come, by the hub's clock."""
    now = await hub_time(client)
    begin = since if isinstance(since, datetime) else now - since
    if begin > now + AHEAD:
        raise UsageProblem(
            f"read what was stored since {rfc3339(begin)}", "that time is still to come", f"now it is {rfc3339(now)}"
        )
    return begin


async def span(client: Client, since: Moment, until: Moment | None) -> tuple[datetime, datetime]:
    """From when to when to read. until: None: all that there is, also what a device's clock has a little ahead.

    Raises UsageProblem for a time to come, and where ``until`` is not after ``since``.
    """
    begin = await begin_at(client, since)
    end = await moment_at(client, until if until is not None else -AHEAD)
    if end <= begin:
        what = f"read from {rfc3339(begin)} until {rfc3339(end)}"
        raise UsageProblem(
            what, "--until is before --since", "30m is a time ago: --since 1h --until 30m is the first half of that hour"
        )
    return begin, end


def before(moment: datetime) -> datetime:
    """From when on to read for what has a time of ``moment`` or later: it may be stored that much before its own time."""
    return max(moment - AHEAD, datetime(1970, 1, 2, tzinfo=timezone.utc))


async def stored(
    client: Client,
    stream: str,
    subject: Callable[[str], str],
    devices: Sequence[str] | None,
    *,
    since: datetime | None = None,
    first: int = 1,
) -> AsyncGenerator[Stored, None]:
    """The messages of ``stream`` that are of ``devices``, in the order in which the hub stored them.

    subject: gives the filter of a device's id, also of ``*``. devices: None for all. since: stored from then on; None: from the sequence
    ``first`` on.
    """
    many = devices is None or len(devices) > AT_ONCE
    names = ["*"] if many else list(devices or ())
    wanted = None if devices is None else frozenset(devices)
    async with AsyncExitStack() as stack:
        readers = [read_all(client, stream, subject(name), first=first, since=since) for name in names]
        for reader in readers:
            await stack.enter_async_context(aclosing(reader))
        messages = readers[0] if len(readers) == 1 else await stack.enter_async_context(aclosing(_merged(readers)))
        async for message in messages:
            device = device_of(message.subject)
            # A tampered leaf can store under a literal asterisk (nats-server 2.15.1); nobody is called that.
            if is_id(device) and (wanted is None or device in wanted):
                yield message


async def _merged(readers: Sequence[AsyncGenerator[Stored, None]]) -> AsyncGenerator[Stored, None]:
    """The messages of all, by their sequence."""
    heads = []
    for number, reader in enumerate(readers):
        if (message := await anext(reader, None)) is not None:
            heads.append((message.sequence, number, message))
    heapq.heapify(heads)
    while heads:
        _, number, message = heads[0]
        yield message
        following = await anext(readers[number], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following.sequence, number, following))
