"""A follower of its own for each log of commands: neither whom to trust, nor the configuration, nor another log waits for a long one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from edgeagent.documents import EVERY_SECONDS, Follower, OnChange, Source
from edgeagent.link import Client
from edgeagent.runtime import CANCEL_AGAIN_SECONDS, Tasks

__all__ = ["CommandFollowers"]


class CommandFollowers:
    """Used like one :class:`~edgeagent.documents.Follower` of all the logs, but for :meth:`start`."""

    def __init__(self, client: Client, on_change: OnChange, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._client, self._on_change, self._every = client, on_change, every_seconds
        self._each: dict[Source, Follower] = {}
        self._running: dict[Source, asyncio.Task[None]] = {}
        self._tasks: Tasks | None = None

    def start(self, tasks: Tasks) -> None:
        """Look from now on, until ``tasks`` are closed."""
        self._tasks = tasks
        for source in self._each.keys() - self._running.keys():
            self._run(source)

    async def set_sources(self, sources: Iterable[Source]) -> None:
        """Follow just these from now on; those that stay keep what was seen."""
        wanted = list(sources)
        for source in [source for source in self._each if source not in wanted]:
            await self._end(source)
        for source in [source for source in wanted if source not in self._each]:
            self._each[source] = Follower(self._client, self._on_change, every_seconds=self._every)
            await self._each[source].set_sources([source])
            self._run(source)

    def link_came(self) -> None:
        """Read everything again: what rang meanwhile was not heard."""
        for follower in self._each.values():
            follower.link_came()

    def set_every(self, seconds: float) -> None:
        """Look unrung as often as this from now on."""
        self._every = seconds
        for follower in self._each.values():
            follower.set_every(seconds)

    async def close(self) -> None:
        """Follow nothing any more."""
        for source in list(self._each):
            await self._end(source)

    def _run(self, source: Source) -> None:
        if self._tasks is not None:
            self._running[source] = self._tasks.start(source.key, self._each[source].run())

    async def _end(self, source: Source) -> None:
        task = self._running.pop(source, None)
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_AGAIN_SECONDS)
        await self._each.pop(source).close()
