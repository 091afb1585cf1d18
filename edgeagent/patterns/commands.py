"""The device's side of commands: what each scope's log asks of it goes into the journal, in order and once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from edgeagent import actions
from edgeagent.command import digest
from edgeagent.direct import Stored
from edgeagent.documents import Source
from edgeagent.journal import Journal
from edgeagent.journalrows import New, Position, Step
from edgeagent.link import Client
from edgeagent.patterns.commandjudge import Here, examine
from edgeagent.patterns.commandlog import Head, Plan, at_cursor, entry_digest, head_of, is_strangers, plan, read, source
from edgeagent.subjects import Scope, scopes_of

__all__ = ["KEY", "CommandLogs"]

log = logging.getLogger("edgeagent")

#: How the keys of the logs begin among all that a device follows.
KEY = "commands "
Tell = Callable[..., None]


class CommandLogs:
    """Follows the logs of one device's scopes into ``journal``.

    tell: an event, as :meth:`edgeagent.patterns.events.Events.tell`. on_taken: called after the journal has something new, with the ids
    of running commands that are to be stopped. look_at_signers: reads who may sign now; it raises Unreachable when that can't be read.
    """

    def __init__(
        self,
        client: Client,
        journal: Journal,
        here: Here,
        *,
        tell: Tell,
        on_taken: Callable[[list[str]], None],
        look_at_signers: Callable[[], Awaitable[None]],
    ) -> None:
        self._client, self._journal, self._here, self._tell, self._on_taken = client, journal, here, tell, on_taken
        self._look_at_signers = look_at_signers
        self._compared: set[Scope] = set()
        self._unusable = self._stranger = ""

    def sources(self, groups: Iterable[str]) -> list[Source]:
        """What to follow."""
        return [source(scope, f"{KEY}{scope}") for scope in scopes_of(self._here.device_id, groups)]

    def link_came(self) -> None:
        """The hub may be another one than before, or an older copy."""
        self._compared.clear()

    async def changed(self, key: str, stored: Stored | None) -> None:
        """For the :class:`~edgeagent.documents.Follower`. Raises Unreachable when the log can't be read, EdgeError when the journal
        can't be written."""
        scope = Scope(*key.removeprefix(KEY).split(".", 1))
        if stored is None:
            self._note_empty(scope)
            return
        head = await self._head(scope, stored)
        wanted = await self._wanted(scope, head) if head.number else None
        if wanted is None:
            self._say_if_unusable(scope, head)
            return
        if wanted.anew:
            self._begin_anew(scope, wanted)
        async for window in read(self._client, scope, stored, wanted):
            await self._take(scope, wanted.log, window)

    async def _head(self, scope: Scope, stored: Stored) -> Head:
        head = head_of(scope, stored, self._here.pins())
        known = head.log or self._journal.noted(str(scope), head.number) == head.digest
        if not known and await self._may_be_known_now(scope, stored.data):
            head = head_of(scope, stored, self._here.pins())
        return head

    async def _may_be_known_now(self, scope: Scope, data: bytes) -> bool:
        """Whether an entry that does not count is to be judged once more: a stranger signed it, and who may sign was looked at since.

        That news may be read later than the first command that rests on it, and what was refused once stays refused.
        """
        if digest(data) == self._stranger or not is_strangers(scope, data, self._here.pins()):
            return False
        self._stranger = digest(data)
        await self._look_at_signers()
        return True

    def _note_empty(self, scope: Scope) -> None:
        """What comes into a log that was seen empty was missed if it has expired by then, and is told; in one that was never seen it is none
        of ours. One that is gone comes back under another id."""
        if self._journal.position(str(scope)) is None:
            self._journal.seen_empty(str(scope))

    async def _wanted(self, scope: Scope, head: Head) -> Plan | None:
        position = self._journal.position(str(scope))
        wanted = plan(position, self._journal.noted(str(scope), head.number), head)
        if wanted is not None and not wanted.anew and position and position.cursor and scope not in self._compared:
            there = await entry_digest(self._client, scope, position.cursor, head.number)
            purged = not there and position.cursor < wanted.floor  # the hub lets go what expired long ago
            if there != self._journal.noted(str(scope), position.cursor) and not purged:
                wanted = at_cursor(wanted, head)
        if wanted is not None:
            self._compared.add(scope)
        return wanted

    def _begin_anew(self, scope: Scope, wanted: Plan) -> None:
        if self._journal.position(str(scope)) is not None:
            text = (
                f"the hub's log of commands for {scope} is not the one that this device had read: the hub was restored from a backup, or "
                "replaced. What has not expired is read again; nothing that ran runs again"
            )
            self._tell("warning", "command.hub_went_back", text, scope=str(scope))
        self._journal.begin_anew(str(scope), Position(wanted.log, wanted.first - 1), self._here.now() or 0.0)

    async def _take(self, scope: Scope, log_id: str, window: list[tuple[int, bytes]]) -> None:
        found = await self._examined(scope, log_id, window)
        steps, problems = [step for step, _ in found], [(step.number, problem) for step, problem in found if problem]
        taken = self._journal.take(str(scope), log_id, steps)
        for number, problem in [*problems, *taken.problems]:
            self._tell("error", "command.refused", f"entry {number} for {scope}: {problem}", scope=str(scope), number=number)
        for step in steps:
            if isinstance(step.what, New) and step.what.result.state != "accepted":
                result = step.what.result
                signer, reason = actions.printable(result.signer), actions.printable(result.reason)
                log.warning("%s by %s, command %s: %s", result.state, signer, result.id, reason)
        self._on_taken(taken.stop)

    async def _examined(self, scope: Scope, log_id: str, window: list[tuple[int, bytes]]) -> list[tuple[Step, str]]:
        pins, found = self._here.pins(), list[tuple[Step, str]]()
        for number, data in window:
            step, problem = await examine(self._here, pins, scope, number, data, log_id)
            if problem and await self._may_be_known_now(scope, data):
                pins = self._here.pins()
                step, problem = await examine(self._here, pins, scope, number, data, log_id)
            found.append((step, problem))
        return found

    def _say_if_unusable(self, scope: Scope, head: Head) -> None:
        """Once, that the newest entry is worth nothing, so that nothing of the log is read."""
        known = self._journal.noted(str(scope), head.number) == head.digest
        if head.log or known or self._unusable == head.digest:
            return
        self._unusable = head.digest
        text = f"the newest entry for {scope}, {head.number}, was not signed by anybody whom this device follows"
        self._tell("error", "command.refused", text, scope=str(scope), number=head.number)
