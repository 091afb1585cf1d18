"""The device's side of commands: what each scope's log asks of it goes into the journal, in order and once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from edgeagent import actions
from edgeagent.cel import Busy
from edgeagent.command import Result, digest
from edgeagent.direct import Stored
from edgeagent.documents import Source
from edgeagent.errors import Failed, Unreachable
from edgeagent.journal import Journal
from edgeagent.journalrows import New, Position, Step
from edgeagent.link import Client
from edgeagent.patterns.commandjudge import Here, examine
from edgeagent.patterns.commandlog import (
    Head,
    Plan,
    anew,
    entry_digest,
    head_of,
    is_strangers,
    plan,
    portions,
    read,
    source,
)
from edgeagent.subjects import Scope, scopes_of

__all__ = ["KEY", "CommandLogs"]

log = logging.getLogger("edgeagent")

#: How the keys of the logs begin among all that a device follows.
KEY = "commands "
#: How often an entry is judged whose filter can't be evaluated because the machine is busy: over some two minutes.
MAX_TRIES = 9
Tell = Callable[..., None]


class CommandLogs:
    """Follows the logs of one device's scopes into ``journal``.

    tell: an event, as :meth:`edgeagent.patterns.events.Events.tell`. on_taken: called after the journal has something new, with the ids
    of running commands that are to be stopped. look_at_signers: reads who may sign now; it raises Unreachable when that can't be read.
    refuse: tells the hub of a command that was refused and could not be written down; whether the hub has something of it now.
    problem: why the journal could not be written; empty when it can.
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
        refuse: Callable[[Result], Awaitable[bool]],
    ) -> None:
        self._client, self._journal, self._here, self._tell, self._on_taken = client, journal, here, tell, on_taken
        self._look_at_signers, self._refuse = look_at_signers, refuse
        self._compared: set[Scope] = set()
        self._told_back: set[Scope] = set()
        self._told_refused: set[str] = set()
        self.problem = ""
        self._busy: dict[Scope, tuple[int, int]] = {}
        self._unusable: dict[Scope, str] = {}
        self._stranger: dict[Scope, str] = {}

    def sources(self, groups: Iterable[str]) -> list[Source]:
        """What to follow."""
        return [source(scope, f"{KEY}{scope}") for scope in scopes_of(self._here.device_id, groups)]

    def link_came(self) -> None:
        """The hub may be another one than before, or an older copy."""
        self._compared.clear()
        self._told_back.clear()

    async def changed(self, key: str, stored: Stored | None) -> None:
        """For the :class:`~edgeagent.documents.Follower`. Raises Unreachable when the log can't be read now, or the journal not written:
        a disk that is full is not for ever, and commands expire."""
        scope = Scope(*key.removeprefix(KEY).split(".", 1))
        try:
            await self._look(scope, stored)
            self.problem = ""
        except Failed as error:
            if self.problem != str(error):
                log.warning("%s", error)
            self.problem = str(error)
            raise Unreachable(error.what, error.why, error.remedy) from None

    async def _look(self, scope: Scope, stored: Stored | None) -> None:
        if stored is None:
            self._note_empty(scope)
            return
        head = await self._head(scope, stored)
        wanted = await self._wanted(scope, head) if head.number else None
        if wanted is None:
            return
        if wanted.anew:
            self._begin_anew(scope, wanted)
        self._say_if_far(scope, head, wanted)
        failed = None
        async for window in read(self._client, scope, stored, wanted):
            failed = await self._take(scope, wanted, window, failed)
        if failed is not None:
            raise failed
        self._told_refused.clear()

    async def _head(self, scope: Scope, stored: Stored) -> Head:
        head = head_of(scope, stored, self._here.pins())
        if not head.log and await self._may_be_known_now(scope, stored.data):
            head = head_of(scope, stored, self._here.pins())
        return head

    async def _may_be_known_now(self, scope: Scope, data: bytes) -> bool:
        """Whether an entry that does not count is to be judged once more: a stranger signed it, and who may sign was looked at since.

        That news may be read later than the first command that rests on it, and what was refused once stays refused.
        """
        if digest(data) == self._stranger.get(scope) or not is_strangers(scope, data, self._here.pins()):
            return False
        self._stranger[scope] = digest(data)
        await self._look_at_signers()
        return True

    def _note_empty(self, scope: Scope) -> None:
        """What comes into a log that was seen empty was missed if it has expired by then, and is told; in one that was never seen it is none
        of ours. One that is gone comes back under another id."""
        if self._journal.position(str(scope)) is None:
            self._journal.seen_empty(str(scope))

    async def _wanted(self, scope: Scope, head: Head) -> Plan | None:
        position, below = self._journal.position(str(scope)), self._journal.noted_below(str(scope), head.number)
        wanted = plan(position, below.number, self._journal.noted(str(scope), head.number), head)
        if wanted is not None and not wanted.anew and position and below.number and self._is_doubtful(scope, position, head):
            there = await entry_digest(self._client, scope, below.number, head.number)
            purged = not there and below.number < head.floor  # the hub lets go what expired long ago
            if there != below.digest and head.log and not purged:  # the hub went back, and on from there
                wanted = anew(head)
        if wanted is not None:
            self._compared.add(scope)
        return wanted

    def _is_doubtful(self, scope: Scope, position: Position, head: Head) -> bool:
        """Whether the log may be another one than was read. That its head says so proves nothing: see what is below."""
        return scope not in self._compared or (head.log and head.log != position.log) or head.number <= position.cursor

    def _begin_anew(self, scope: Scope, wanted: Plan) -> None:
        if self._journal.position(str(scope)) is not None and scope not in self._told_back:
            self._told_back.add(scope)
            text = (
                f"the hub's log of commands for {scope} is not the one that this device had read: the hub was restored from a backup, or "
                "replaced. What has not expired is read again; nothing that ran runs again"
            )
            self._tell("warning", "command.hub_went_back", text, scope=str(scope))
        self._journal.begin_anew(str(scope), Position(wanted.log, wanted.first - 1), self._here.now() or 0.0)

    async def _take(self, scope: Scope, wanted: Plan, window: list[tuple[int, bytes]], failed: Failed | None) -> Failed | None:
        """The window into the journal. failed: why an earlier one could not be written, and what comes after must not be either; the same is
        returned. Raises it when that was not for want of space."""
        problems: list[tuple[int, str]] = []
        for portion in portions(window):
            found, busy = await self._examined(scope, portion)
            steps = [_passed(step, wanted.told) for step, _ in found]
            problems += [(step.number, problem) for step, problem in found if problem]
            try:
                taken = self._journal.take(str(scope), wanted.log, steps) if failed is None else None
            except Failed as error:
                taken, failed = None, error
            if taken is None:
                if failed is not None and not self._here.room():
                    raise failed
                await self._say_refused(steps)
                continue
            problems += taken.problems
            for step in steps:
                if isinstance(step.what, New) and step.what.result.state != "accepted":
                    result = step.what.result
                    signer, reason = actions.printable(result.signer), actions.printable(result.reason)
                    log.warning("%s by %s, command %s: %s", result.state, signer, result.id, reason)
            self._on_taken(taken.stop)
            if busy is not None:
                self._tell_problems(scope, problems)
                raise Unreachable(f"follow the commands for {scope}", f"a filter can't be evaluated now: {busy.why}")
        self._tell_problems(scope, problems)
        return failed

    async def _say_refused(self, steps: list[Step]) -> None:
        """Tell the hub, once, of what was refused and can't be written down. When the entries are read again they stay refused: what the hub
        has of a command counts."""
        results = [step.what.result for step in steps if isinstance(step.what, New)]
        for result in results:
            if result.state == "refused" and result.id not in self._told_refused and await self._refuse(result):
                self._told_refused.add(result.id)

    def _tell_problems(self, scope: Scope, problems: list[tuple[int, str]]) -> None:
        """One event for a window, whatever is in it: who writes rubbish fills neither the hub's store nor the system's journal."""
        if not problems:
            return
        number, problem = problems[0]
        text = f"entry {number} for {scope}: {problem}"
        if len(problems) > 1:
            text = f"{len(problems)} entries for {scope}, {number} to {problems[-1][0]}, were not followed; {number}: {problem}"
        self._tell("error", "command.refused", text, scope=str(scope), number=number)

    async def _examined(self, scope: Scope, portion: list[tuple[int, bytes]]) -> tuple[list[tuple[Step, str]], Busy | None]:
        """What the entries ask, and why those that are left out can't be judged now."""
        pins, found, looked = self._here.pins(), list[tuple[Step, str]](), False
        for number, data in portion:
            try:
                step, problem = await examine(self._here, pins, scope, number, data, last_try=self._is_last_try(scope, number))
            except Busy as busy:
                return found, busy
            if problem and not looked and await self._may_be_known_now(scope, data):
                pins, looked = self._here.pins(), True
                step, problem = await examine(self._here, pins, scope, number, data, last_try=True)
            found.append((step, problem))
        return found, None

    def _is_last_try(self, scope: Scope, number: int) -> bool:
        """Whether the entry was tried often enough. The log waits meanwhile, so nobody's filter may be tried for ever."""
        before, tries = self._busy.get(scope, (0, 0))
        self._busy[scope] = number, tries + 1 if before == number else 1
        return self._busy[scope][1] >= MAX_TRIES

    def _say_if_far(self, scope: Scope, head: Head, wanted: Plan) -> None:
        """Once, that somebody wrote an entry with a number far from the others, so that not all before it is read."""
        gap = head.number - wanted.numbers[0].stop
        if gap <= 0 or self._unusable.get(scope) == head.digest:
            return
        self._unusable[scope] = head.digest
        signed = "" if head.log else ", and nobody whom this device follows signed it"
        text = (
            f"the newest entry for {scope} has the number {head.number}, {head.number - wanted.first + 1} after the last one that was "
            f"read{signed}. Not all of those are read: others go on where they were"
        )
        self._tell("error", "command.number_too_large", text, scope=str(scope), number=head.number)


def _passed(step: Step, told: int) -> Step:
    """The step; with nothing asked if it has ended already and is not to be told."""
    is_over = step.number < told and isinstance(step.what, New) and step.what.result.state != "accepted"
    return step._replace(what=None) if is_over else step
