"""A command that was sent: what became of it so far, and waiting for its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime, timedelta, timezone

from edgeagent.errors import EdgeError
from edgeagent.fleet.commandentry import Command
from edgeagent.fleet.commandstatus import Answer, Row, rows_of
from edgeagent.fleet.commandtargets import Meant
from edgeagent.fleet.commandwatch import Results, read
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.states import State, state_of
from edgeagent.link import Client
from edgeagent.times import moment

__all__ = ["Running"]

#: How often to read what the hub has, in seconds: a live message may be lost with a link.
LOOK_SECONDS = 2.0
#: Many answer at once: so long they are gathered, in seconds.
GATHER_SECONDS = 0.03
#: How long to listen to those of whom the reports do not tell whether they are meant, in seconds.
UNSURE_SECONDS = 3.0
#: After the last moment to begin a device may still be at it; what takes longer than this is not waited for, in seconds.
AFTER_SECONDS = 3600.0


class Running:
    """``fleet.commands.run`` gives it, and ``get`` for one that was sent before.

    >>> running = await fleet.commands.run("ping", groups=["berlin"])    # doctest: +SKIP
    >>> for device, row in (await running.wait(30)).items():             # doctest: +SKIP
    ...     print(device, row.state, row.result.value)
    """

    def __init__(self, client: Client, command: Command, meant: Meant, roster: Roster) -> None:
        self._client, self.command, self.meant = client, command, meant
        self._states = {device: state_of(known, roster.time) for device, known in roster.devices.items()}
        self._ahead = roster.time - datetime.now(timezone.utc)

    @property
    def id(self) -> str:
        return self.command.id

    @property
    def until(self) -> datetime:
        """When it is not begun any more."""
        return moment(self.command.until)

    async def results(self) -> dict[str, Row]:
        """A row for every device that should answer or did, by id, as the hub has it now."""
        return {row.id: row for row in self._rows(await read(self._client, self.id))}

    async def wait(self, timeout: float | None = None) -> dict[str, Row]:
        """The same once every device has ended, or ``timeout`` seconds are over; None: until nobody begins any more."""
        rows: list[Row] = []
        async for found in self.progress(timeout):
            rows = found
        return {row.id: row for row in rows}

    async def progress(self, timeout: float | None = None) -> AsyncGenerator[list[Row], None]:
        """The rows now and whenever one is another one, until the end as in :meth:`wait`."""
        begun = time.monotonic()
        deadline = begun + (self._longest() if timeout is None else timeout)
        async with Results(self._client, self.id) as results:
            before: list[Row] | None = None
            while True:
                rows = self._rows(results.answers)
                if rows != before:
                    yield rows
                before, now = rows, time.monotonic()
                if now >= deadline or (self._is_over(rows) and not self._may_speak(now - begun)):
                    return
                if await results.wait(min(LOOK_SECONDS, deadline - now)):
                    await asyncio.sleep(GATHER_SECONDS)
                else:
                    with contextlib.suppress(EdgeError):  # the hub is away: the next look shows what was missed
                        await results.refresh()

    def _rows(self, answers: Mapping[str, Answer]) -> list[Row]:
        expected = {known.id: self._states.get(known.id, State.NEVER_SEEN) for known in self.meant.sure}
        perhaps = {known.id for known in self.meant.unsure}
        return rows_of(
            expected, answers.values(), until=self.command.until, now=self._now(), others=self._states, perhaps=perhaps
        )

    def is_settled(self, rows: Iterable[Row]) -> bool:
        """Whether nobody does anything about it any more: all have ended, and nobody else can still begin.

        rows: of :meth:`results`. Of a filter only the devices themselves know whether they are meant, until it expires.
        """
        rows = [row for row in rows if row.expected]
        can_begin = self._now() <= self.until
        target = self.command.target
        open_ended = bool(target.where or target.labels or self.command.older_enrolments or self.meant.unsure)
        return all(row.is_over for row in rows) and not (can_begin and (open_ended or not rows))

    def _now(self) -> datetime:
        """By the hub's clock."""
        return datetime.now(timezone.utc) + self._ahead

    def _is_over(self, rows: list[Row]) -> bool:
        meant = [row for row in rows if row.expected]
        return bool(meant) and all(row.is_over for row in meant)

    def _may_speak(self, waited: float) -> bool:
        online = any(self._states.get(known.id) is State.ONLINE for known in self.meant.unsure)
        return online and waited < UNSURE_SECONDS

    def _longest(self) -> float:
        begins = self.until - datetime.now(timezone.utc) + timedelta(seconds=AFTER_SECONDS)
        return max(0.0, begins.total_seconds())
