"""Commands as operators send, follow and cancel them: signed entries in the logs of the scopes that they are for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.cel import Evaluator
from edgeagent.command import CANCEL, Entry, new_id
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.fleet import commandfind, commandlogs
from edgeagent.fleet.commandentry import Command
from edgeagent.fleet.commandlogs import WHAT, about, append, check_signed, signed_entry
from edgeagent.fleet.commandorder import Order, Wish, action_of, check_clock, check_count, expiry_of
from edgeagent.fleet.commandrun import Running
from edgeagent.fleet.commandstatus import ENDS, TO_RETRY, Row, counts
from edgeagent.fleet.commandtargets import Aim, aimed, check, meant
from edgeagent.fleet.roster import Roster, read_roster
from edgeagent.fleet.selector import Selector
from edgeagent.subjects import Scope
from edgeagent.times import moment

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["Commands"]

#: How many logs are written into at once.
AT_ONCE = 32
#: A command that runs may still be cancelled this long after the last moment to begin, in seconds.
CANCEL_SECONDS = 3600


class Commands:
    """``fleet.commands``: durable, signed, carried out once by every device that is meant, also by one that comes back later.

    >>> async with Fleet() as fleet:                                     # doctest: +SKIP
    ...     running = await fleet.commands.run("service.restart", {"unit": "nginx"}, labels=["site=berlin"])
    ...     print(await running.wait(60))
    """

    def __init__(self, fleet: Fleet, evaluator: Evaluator) -> None:
        self._fleet, self._evaluator = fleet, evaluator

    async def run(self, action: str, args: Mapping[str, Any] | None = None, **more: Any) -> Running:
        """Send a command now. Arguments and errors as :meth:`prepare`."""
        return await self.send(await self.prepare(action, args, **more))

    async def prepare(
        self,
        action: str,
        args: Mapping[str, Any] | None = None,
        *,
        devices: Iterable[str] = (),
        groups: Iterable[str] = (),
        labels: Iterable[str] = (),
        where: str = "",
        everybody: bool = False,
        expires_seconds: float | None = None,
        splay_seconds: float = 0.0,
        note: str = "",
        most: int | None = None,
        older_enrolments: bool = False,
    ) -> Order:
        """Check everything, and find out whom it would hit; nothing is written.

        devices, groups, labels, where: as for :meth:`Fleet.query`. everybody: all that the login may command; needed when nothing else
        is named. The others as in :class:`~edgeagent.fleet.commandorder.Wish`.
        Raises UsageProblem for what cannot be meant, or is not for this login; Refused for what the hub does not take from it.
        """
        selector = Selector.of(devices=tuple(devices), groups=tuple(groups), labels=tuple(labels), where=where)
        if everybody == (selector != Selector()):
            why = "no device is named" if not everybody else "everybody and a selection are named"
            raise UsageProblem(WHAT, why, "name some with -d, -g, -l or --where, or all with --all")
        wish = Wish(
            action=action,
            args=dict(args or {}),
            expires_seconds=expires_seconds,
            splay_seconds=splay_seconds,
            note=note,
            most=most,
            older_enrolments=older_enrolments,
        )
        return await self._order(wish, aimed(selector, own=self._fleet.login.groups))

    async def _order(self, wish: Wish, aim: Aim) -> Order:
        entry = wish.entry(aim, self._fleet.login.public_key)
        self._check_may(entry, aim)
        roster = await read_roster(self._fleet.client)
        check_clock(roster.time, entry.not_after - time.time())
        await check(self._evaluator, roster, aim, own=self._fleet.login.groups)
        expires = expiry_of(action_of(wish.action), wish.expires_seconds)
        found = await meant(self._evaluator, roster, aim)
        key = self._fleet.login.public_key
        order = Order(entry=entry, aim=aim, meant=found, roster=roster, expires_seconds=expires, key=key)
        check_count(order.devices, wish.most, "" if found.sure else found.problem)
        return order

    def _check_may(self, entry: Entry, aim: Aim, action: str = "") -> None:
        """Raise what a device would say against it. action: what is to be allowed; empty: the entry's."""
        login, now = self._fleet.login, int(time.time())
        draft = msgspec.structs.replace(entry, log="0" * 32, floor=10**9)  # as large as it may get
        for scope in aim.scopes if login.groups else aim.scopes[:1]:
            signature = check_signed(login, scope, signed_entry(login, scope, draft, number=10**9, at=now))
        if not signature.may(action or entry.action):
            limits = ", ".join(signature.actions)
            why = f"{login.name} may only ask for {limits}, not for {action or entry.action}"
            raise UsageProblem(WHAT, why, "ask whoever made your login")

    async def send(self, order: Order) -> Running:
        """Write what was prepared. Raises Failed when it got into some of its logs only; what is there is carried out."""
        at = int(time.time())
        await self._write(order.entry, order.aim.scopes)
        entry = order.entry
        command = Command(
            id=entry.id,
            action=entry.action,
            time=datetime.now(timezone.utc),
            at=at,
            until=entry.not_after,
            by=self._fleet.login.name,
            scopes=order.aim.scopes,
            args=entry.args,
            target=entry.target,
            splay_seconds=entry.splay_seconds,
            older_enrolments=entry.older_enrolments,
            note=entry.note,
        )
        return Running(self._fleet.client, command, order.meant, order.roster)

    async def _write(self, entry: Entry, scopes: Sequence[Scope]) -> None:
        client, login, places = self._fleet.client, self._fleet.login, asyncio.Semaphore(AT_ONCE)
        pins = await self._fleet.pins()

        async def put(scope: Scope) -> None:
            async with places:
                await append(client, login, scope, entry, pins)

        await put(scopes[0])  # what stands against one stands against all, mostly: then nothing was written
        found = await asyncio.gather(*(put(scope) for scope in scopes[1:]), return_exceptions=True)
        failed = [(scope, error) for scope, error in zip(scopes[1:], found, strict=True) if error]
        for _, error in failed:
            if not isinstance(error, EdgeError):
                raise error
        if failed:
            missing = ", ".join(str(scope) for scope, _ in failed[:5]) + (" and others" if len(failed) > 5 else "")
            why = f"it is not known to be in {len(failed)} of {len(scopes)} logs ({missing}): {getattr(failed[0][1], 'why', failed[0][1])}"
            if entry.action == CANCEL:
                raise Failed("cancel the command for all", why, f"`edgeagent cmd cancel {about(entry)}` again reaches them")
            remedy = f"`edgeagent cmd show {entry.id}` follows the others, `cmd cancel` ends them"
            raise Failed("send the command to all", why, remedy)

    async def get(self, command_id: str) -> Running:
        """A command that was sent before, by its id or how only that one begins. Raises UsageProblem when the hub has none."""
        command, roster = await asyncio.gather(self._find(command_id), read_roster(self._fleet.client))
        return await self.follow(command, roster)

    async def follow(self, command: Command, roster: Roster) -> Running:
        """What becomes of ``command``. Whom it is for is told by the reports of ``roster``, so it may have changed since."""
        aim = Aim(scopes=command.scopes, target=command.target)
        signed = None if command.older_enrolments else moment(command.at)
        found = await meant(self._evaluator, roster, aim, signed=signed)
        return Running(self._fleet.client, command, found, roster)

    async def newest(self) -> Running:
        """The newest command of this login's name. Raises UsageProblem when there is none."""
        found = await commandfind.newest_of(self._fleet.client, self._fleet.login.name, await self._fleet.pins())
        return await self.get(found.id)

    async def recent(self, count: int = 20) -> list[Command]:
        """The newest commands that the hub has, the newest first."""
        commands: list[Command] = []
        async for commands in commandlogs.recent(self._fleet.client, await self._fleet.pins()):
            if len(commands) > count:
                break
        return commands[:count]

    async def cancel(self, command_id: str, *, note: str = "") -> Command:
        """Have devices not begin it any more, and end it where it runs; the command as it was before.

        Devices that have ended already stay as they are. Raises as :meth:`get` and :meth:`prepare`, and Failed when all of them have:
        then nothing is written. Raises Refused for one that no device would follow, unless its signer was revoked: what devices took up
        before that goes on.
        """
        running = await self.get(command_id)
        command = running.command
        if not command.revoked:
            _check_followed(f"cancel {command.id}", command)
        rows = (await running.results()).values()
        if running.is_settled(rows):
            raise Failed(
                "cancel the command", f"there is nothing to cancel: {_ended(rows)}", f"`edgeagent cmd show {command.id}` shows it"
            )
        now = time.time()
        aim = Aim(scopes=command.scopes, target=command.target)
        entry = Entry(
            id=new_id(now, self._fleet.login.public_key),
            action=CANCEL,
            log="",
            floor=0,
            not_after=max(command.until, int(now)) + CANCEL_SECONDS,
            args={"id": command.id},
            target=command.target,
            note=note,
        )
        self._check_may(entry, aim, command.action)
        await self._write(entry, command.scopes)
        return command

    async def retry(
        self,
        command_id: str,
        *,
        states: Iterable[str] = TO_RETRY,
        expires_seconds: float | None = None,
        most: int | None = None,
    ) -> Order:
        """Prepare the same for the devices that are meant and ended in one of ``states``: those that did not do it, or nobody knows.

        Whoever sends that gives the command; so look at ``again`` of the order, which says who gave it first. Raises UsageProblem when
        there are none, and for a state that is no end; Refused for one that no device would follow.
        """
        wanted = ends_of(states)
        running = await self.get(command_id)
        _check_followed(f"send {running.id} again", running.command)
        rows = await running.results()
        again = [row.id for row in rows.values() if to_retry(row, wanted)]
        if not again:
            raise UsageProblem(
                f"send {running.id} again",
                f"no device that is meant is {' or '.join(sorted(wanted))}",
                f"`edgeagent cmd show {running.id}` shows what became of it, --states says which are meant",
            )
        command = running.command
        action = action_of(command.action)
        expires = expires_seconds or min(max(1.0, command.until - command.at), action.max_expiry_seconds)
        order = await self.prepare(
            command.action,
            command.args,
            devices=again,
            labels=[f"{key}={value}" for key, value in command.target.labels.items()],
            where=command.target.where,
            expires_seconds=expires,
            splay_seconds=min(command.splay_seconds, expires),
            note=commandfind.note_of_retry(command.id),
            most=most,
        )
        proven = await self._fleet.pins() is not None
        return replace(order, again=command if proven else replace(command, by=f"{command.by} (not checked)"))

    async def retries(self, command: Command) -> list[Command]:
        """What was sent as that command once more, the newest first."""
        return await commandfind.retries(self._fleet.client, command, await self._fleet.pins())

    async def _find(self, command_id: str) -> Command:
        return await commandfind.find(self._fleet.client, command_id, await self._fleet.pins())


def _check_followed(what: str, command: Command) -> None:
    if command.problem:
        why = f"what the hub has of it does not count: {command.problem}"
        raise Refused(what, why, "`edgeagent cmd run` gives a command of your own")


def to_retry(row: Row, states: Collection[str] = TO_RETRY) -> bool:
    """Whether the device is to be asked once more: it was meant, and ended in one of ``states``."""
    return row.expected and row.state in states


def ends_of(states: Iterable[str]) -> frozenset[str]:
    """The states to ask again in, ``no_answer`` written as it is typed. Raises UsageProblem for what is no end."""
    found = frozenset(state.replace("_", " ").strip() if state not in ENDS else state for state in states)
    for state in sorted(found - ENDS):
        known = ", ".join(sorted(end.replace(" ", "_") for end in ENDS))
        raise UsageProblem(f"send it to those that are {state!r}", "nothing ends so", f"write some of {known}, with commas")
    return found


def _ended(rows: Iterable[Row]) -> str:
    rows = [row for row in rows if row.expected]
    if not rows:
        return "it has expired, and no device of now is meant"
    states = ", ".join(f"{count} {state}" for state, count in counts(rows).items())
    return f"it has ended on {'its device' if len(rows) == 1 else f'all {len(rows)} devices'} ({states})"
