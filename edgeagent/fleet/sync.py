"""``Fleet`` for code without ``await``: a loop of its own in a thread, so that the connection stays alive between calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeagent.fleet.commandentry import Command
from edgeagent.fleet.commandorder import Order
from edgeagent.fleet.commandrun import Running
from edgeagent.fleet.commandstatus import Row
from edgeagent.fleet.config import Written
from edgeagent.fleet.configversion import Version
from edgeagent.fleet.outcome import Outcome
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.watch import Change
from edgeagent.registry import Field
from edgeagent.subjects import Scope

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["SyncCommands", "SyncConfiguration", "SyncFiles", "SyncFleet", "SyncRunning"]

T = TypeVar("T")


class SyncFleet:
    """Every method of :class:`~edgeagent.fleet.client.Fleet`, called and returning plainly.

    >>> with Fleet.sync() as fleet:                                      # doctest: +SKIP
    ...     print([row.id for row in fleet.query("labels.site == 'berlin'").answered])
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = self._fleet = fleet
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgeagent fleet", daemon=True)

    def __enter__(self) -> SyncFleet:
        self._thread.start()
        try:
            self.run(self._fleet.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._fleet.__aexit__())
        self._stop()

    def query(self, where: str = "", **options: Any) -> Outcome:
        """See :meth:`Fleet.query <edgeagent.fleet.client.Fleet.query>`."""
        return self.run(self._fleet.query(where, **options))

    def ping(self, **selection: Any) -> Outcome:
        return self.run(self._fleet.ping(**selection))

    def fields(self) -> list[Field]:
        return self.run(self._fleet.fields())

    def roster(self) -> Roster:
        return self.run(self._fleet.roster())

    @property
    def config(self) -> SyncConfiguration:
        return SyncConfiguration(self)

    @property
    def commands(self) -> SyncCommands:
        return SyncCommands(self)

    @property
    def files(self) -> SyncFiles:
        return SyncFiles(self)

    def watch(self, *, ready: Callable[[], None] = lambda: None) -> Iterator[Change]:
        """Blocks between changes; end it by leaving the loop. ready: as in :meth:`Fleet.watch`, called in another thread."""
        changes = self._fleet.watch(ready=ready)
        try:
            while True:
                yield self.run(changes.__anext__())
        finally:
            self.run(changes.aclose())

    def each(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """What an async generator of the fleet gives, plainly: ``fleet.each(fleet.fleet.metrics.history(since=timedelta(hours=1)))``.

        Blocks between items; end it by leaving the loop.
        """
        try:
            while True:
                try:
                    item = self.run(items.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.run(items.aclose())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which runs in the loop of this connection."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncConfiguration:
    """Reading and writing configuration: see :class:`~edgeagent.fleet.config.Configuration`."""

    def __init__(self, fleet: SyncFleet) -> None:
        self._fleet, self._config = fleet, fleet.fleet.config

    def read(self, scope: Scope) -> Version:
        return self._fleet.run(self._config.read(scope))

    def history(self, scope: Scope) -> list[Version]:
        return self._fleet.run(self._config.history(scope))

    def set(self, scope: Scope, values: Mapping[str, Any], **options: Any) -> Written:
        return self._fleet.run(self._config.set(scope, values, **options))

    def unset(self, scope: Scope, names: Iterable[str], **options: Any) -> Written:
        return self._fleet.run(self._config.unset(scope, names, **options))

    def replace(self, scope: Scope, tables: Mapping[str, Any], **options: Any) -> Written:
        return self._fleet.run(self._config.replace(scope, tables, **options))

    def rollback(self, scope: Scope, to: int | None = None, **options: Any) -> Written:
        return self._fleet.run(self._config.rollback(scope, to, **options))


class SyncCommands:
    """Commanding devices: see :class:`~edgeagent.fleet.commands.Commands`."""

    def __init__(self, fleet: SyncFleet) -> None:
        self._fleet, self._commands = fleet, fleet.fleet.commands

    def run(self, action: str, args: Mapping[str, Any] | None = None, **options: Any) -> SyncRunning:
        """Send a command now; options as of :meth:`Commands.prepare <edgeagent.fleet.commands.Commands.prepare>`."""
        return SyncRunning(self._fleet, self._fleet.run(self._commands.run(action, args, **options)))

    def prepare(self, action: str, args: Mapping[str, Any] | None = None, **options: Any) -> Order:
        return self._fleet.run(self._commands.prepare(action, args, **options))

    def send(self, order: Order) -> SyncRunning:
        return SyncRunning(self._fleet, self._fleet.run(self._commands.send(order)))

    def get(self, command_id: str) -> SyncRunning:
        return SyncRunning(self._fleet, self._fleet.run(self._commands.get(command_id)))

    def newest(self) -> SyncRunning:
        return SyncRunning(self._fleet, self._fleet.run(self._commands.newest()))

    def retry(self, command_id: str, **options: Any) -> Order:
        """What is to be sent; :meth:`send` does."""
        return self._fleet.run(self._commands.retry(command_id, **options))

    def retries(self, command: Command) -> list[Command]:
        return self._fleet.run(self._commands.retries(command))

    def recent(self, count: int = 20) -> list[Command]:
        return self._fleet.run(self._commands.recent(count))

    def cancel(self, command_id: str, **options: Any) -> Command:
        return self._fleet.run(self._commands.cancel(command_id, **options))


class SyncRunning:
    """A command that was sent: see :class:`~edgeagent.fleet.commandrun.Running`."""

    def __init__(self, fleet: SyncFleet, running: Running) -> None:
        self._fleet, self._running = fleet, running
        self.id, self.until, self.command, self.meant = running.id, running.until, running.command, running.meant

    def results(self) -> dict[str, Row]:
        return self._fleet.run(self._running.results())

    def wait(self, timeout: float | None = None) -> dict[str, Row]:
        return self._fleet.run(self._running.wait(timeout))

    def progress(self, timeout: float | None = None) -> Iterator[list[Row]]:
        """Blocks between changes; end it by leaving the loop."""
        rows = self._running.progress(timeout)
        try:
            while True:
                yield self._fleet.run(rows.__anext__())
        except StopAsyncIteration:
            return
        finally:
            self._fleet.run(rows.aclose())


class SyncFiles:
    """Files to devices and from them: see :class:`~edgeagent.fleet.files.Files`."""

    def __init__(self, fleet: SyncFleet) -> None:
        self._fleet, self._files = fleet, fleet.fleet.files

    def push(self, local: Path, to: str, **options: Any) -> SyncRunning:
        return SyncRunning(self._fleet, self._fleet.run(self._files.push(local, to, **options)))

    def pull(self, device: str, path: str, local: Path, **options: Any) -> Path:
        return self._fleet.run(self._files.pull(device, path, local, **options))
