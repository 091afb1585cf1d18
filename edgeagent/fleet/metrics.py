"""What the devices measured, as the hub keeps it: the newest values, what was before, and what comes now."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING

from edgeagent.cel import Evaluator
from edgeagent.direct import Stored, get_last
from edgeagent.fleet.chosen import ALLOWED, Whose, chosen
from edgeagent.fleet.following import follow_since
from edgeagent.fleet.leftout import LeftOut
from edgeagent.fleet.metricnewest import Newest
from edgeagent.fleet.metricpoints import ALL, Measured, Wanted, measured
from edgeagent.fleet.storedchunks import Moment, before, begin_at, moment_at, span, stored
from edgeagent.fleet.timewindow import Window
from edgeagent.subjects import METRICS, metric

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["Metrics"]

#: Every device sends a chunk within so long, if it is there and its settings are not made for a metered link.
RECENT = timedelta(minutes=10)


class Metrics:
    """The metrics of a fleet, read by any person. Read :class:`Whose <edgeagent.fleet.chosen.Whose>` for how devices are named.

    left: is told what was left out of what is told, and why.
    """

    def __init__(self, fleet: Fleet, evaluator: Evaluator) -> None:
        self._fleet, self._evaluator = fleet, evaluator

    async def newest(
        self, whose: Whose = ALLOWED, *, since: Moment = RECENT, wanted: Wanted = ALL, left: LeftOut | None = None
    ) -> Newest:
        """The newest value of each series.

        What was stored since then is read, and of devices that were named and sent nothing since then, their last chunk.
        """
        left = left or LeftOut()
        found, devices = Newest(left), await chosen(self._fleet, self._evaluator, whose, METRICS, metric, left)
        begin = await moment_at(self._fleet.client, since)
        async with aclosing(stored(self._fleet.client, METRICS, metric, devices, since=begin)) as chunks:
            async for chunk in chunks:
                found.add(measured(chunk, left, wanted))
        for device in devices or ():
            if device not in found.devices:
                last = await get_last(self._fleet.client, METRICS, metric(device))
                found.add(measured(last, left, wanted) if last else ())
        return found

    async def batches(
        self,
        whose: Whose = ALLOWED,
        *,
        since: Moment,
        until: Moment | None = None,
        metric_name: str = "",
        source: str = "",
        attributes: Mapping[str, str] | None = None,
        left: LeftOut | None = None,
        on_chunk: Callable[[Stored], None] = lambda chunk: None,
    ) -> AsyncGenerator[list[Measured], None]:
        """The samples that were measured from ``since`` to ``until`` (None: now), in the order of their times; some at a time.

        metric_name: may have ``*`` and ``?``; empty: all. source, attributes: only of these. on_chunk: is shown what is read.
        What the hub stored before ``since`` is not read, but for ten minutes by which a device's clock may be ahead. What is older and
        came later, after an outage, stands where it belongs (:class:`Window <edgeagent.fleet.timewindow.Window>`).
        """
        left = left or LeftOut()
        client, devices = self._fleet.client, await chosen(self._fleet, self._evaluator, whose, METRICS, metric, left)
        begin, end = await span(client, since, until)
        wanted = Wanted(
            metric=metric_name,
            source=source,
            attributes=attributes or {},
            since_ms=round(begin.timestamp() * 1000),
            until_ms=round(end.timestamp() * 1000),
        )
        window = Window[Measured](left)
        async with aclosing(stored(client, METRICS, metric, devices, since=before(begin))) as chunks:
            async for chunk in chunks:
                on_chunk(chunk)
                if points := window.add(measured(chunk, left, wanted)):
                    yield points
        yield window.rest()

    async def history(
        self,
        whose: Whose = ALLOWED,
        *,
        since: Moment,
        until: Moment | None = None,
        metric_name: str = "",
        source: str = "",
        attributes: Mapping[str, str] | None = None,
        left: LeftOut | None = None,
    ) -> AsyncGenerator[Measured, None]:
        """:meth:`batches`, one sample at a time."""
        batches = self.batches(
            whose, since=since, until=until, metric_name=metric_name, source=source, attributes=attributes, left=left
        )
        async with aclosing(batches):
            async for points in batches:
                for point in points:
                    yield point

    async def tail(
        self,
        whose: Whose = ALLOWED,
        *,
        since: Moment | None = None,
        wanted: Wanted = ALL,
        left: LeftOut | None = None,
        ready: Callable[[], None] = lambda: None,
        on_link: Callable[[bool], None] = lambda there: None,
    ) -> AsyncGenerator[Measured, None]:
        """Samples as the hub stores them from now on, once each, for ever; those of one chunk by their times.

        A device that was away may send older ones between new ones. since: what was stored from then on comes first; None: nothing.
        ready, on_link: as of :func:`follow`.
        """
        left = left or LeftOut()
        devices = await chosen(self._fleet, self._evaluator, whose, METRICS, metric, left)
        client = self._fleet.client
        begin = None if since is None else await begin_at(client, since)
        chunks = follow_since(client, METRICS, "metric", metric, devices, begin=begin, ready=ready, on_link=on_link)
        async with aclosing(chunks):
            async for chunk in chunks:
                for point in measured(chunk, left, wanted):
                    yield point
