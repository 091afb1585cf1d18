"""``Fleet`` for code without ``await``: a loop of its own in a thread, so that the connection stays alive between calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from edgeagent.fleet.outcome import Outcome
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.watch import Change
from edgeagent.registry import Field

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["SyncFleet"]

T = TypeVar("T")


class SyncFleet:
    """Every method of :class:`~edgeagent.fleet.client.Fleet`, called and returning plainly.

    >>> with Fleet.sync() as fleet:                                      # doctest: +SKIP
    ...     print([row.id for row in fleet.query("labels.site == 'berlin'").answered])
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgeagent fleet", daemon=True)

    def __enter__(self) -> SyncFleet:
        self._thread.start()
        try:
            self._run(self._fleet.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._fleet.__aexit__())
        self._stop()

    def query(self, where: str = "", **options: Any) -> Outcome:
        """See :meth:`Fleet.query <edgeagent.fleet.client.Fleet.query>`."""
        return self._run(self._fleet.query(where, **options))

    def ping(self, **selection: Any) -> Outcome:
        return self._run(self._fleet.ping(**selection))

    def fields(self) -> list[Field]:
        return self._run(self._fleet.fields())

    def roster(self) -> Roster:
        return self._run(self._fleet.roster())

    def watch(self, *, ready: Callable[[], None] = lambda: None) -> Iterator[Change]:
        """Blocks between changes; end it by leaving the loop. ready: as in :meth:`Fleet.watch`, called in another thread."""
        changes = self._fleet.watch(ready=ready)
        try:
            while True:
                yield self._run(changes.__anext__())
        finally:
            self._run(changes.aclose())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
