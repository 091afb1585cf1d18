"""Commands as operators send, follow and cancel them: signed entries in the logs of the scopes that they are for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.cel import Evaluator
from edgeagent.command import CANCEL, Entry, new_id
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.fleet import commandlogs
from edgeagent.fleet.commandentry import Command
from edgeagent.fleet.commandlogs import WHAT, about, append, check_signed, signed_entry
from edgeagent.fleet.commandorder import Order, Wish, action_of, check_clock, check_count, expiry_of
from edgeagent.fleet.commandrun import Running
from edgeagent.fleet.commandstatus import TO_RETRY, Row
from edgeagent.fleet.commandtargets import Aim, aimed, check, meant
from edgeagent.fleet.roster import Roster, read_roster
from edgeagent.fleet.selector import Selector
from edgeagent.subjects import Scope

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
        Raises UsageProblem for what cannot be meant, Refused for what the login may not.
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
        check_count(order.devices, wish.most)
        return order

    def _check_may(self, entry: Entry, aim: Aim, action: str = "") -> None:
        """Raise what the hub or a device would say against it. action: what is to be allowed; empty: the entry's."""
        login, now = self._fleet.login, int(time.time())
        draft = msgspec.structs.replace(entry, log="0" * 32, floor=10**9)  # as large as it may get
        signature = check_signed(login, aim.scopes[0], signed_entry(login, aim.scopes[0], draft, number=10**9, at=now))
        if not signature.may(action or entry.action):
            limits = ", ".join(signature.actions)
            raise Refused(
                WHAT, f"{login.name} may only ask for {limits}, not for {action or entry.action}", "ask whoever made your login"
            )

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
        """A command that was sent before. Raises UsageProblem when the hub has none of this id."""
        command, roster = await asyncio.gather(self._find(command_id), read_roster(self._fleet.client))
        return await self.follow(command, roster)

    async def follow(self, command: Command, roster: Roster) -> Running:
        """What becomes of ``command``. Whom it is for is told by the reports of ``roster``, so it may have changed since."""
        aim = Aim(scopes=command.scopes, target=command.target)
        signed = None if command.older_enrolments else datetime.fromtimestamp(command.at, timezone.utc)
        found = await meant(self._evaluator, roster, aim, signed=signed)
        return Running(self._fleet.client, command, found, roster)

    async def recent(self, count: int = 20) -> list[Command]:
        """The newest commands that the hub has, the newest first."""
        commands: list[Command] = []
        async for commands in commandlogs.recent(self._fleet.client, await self._fleet.pins()):
            if len(commands) > count:
                break
        return commands[:count]

    async def cancel(self, command_id: str, *, note: str = "") -> Command:
        """Have devices not begin it any more, and end it where it runs. Raises as :meth:`get` and :meth:`prepare`.

        Devices that have ended already stay as they are. Raises Refused for one that no device would follow, unless its signer was revoked:
        what devices took up before that goes on.
        """
        command = await self._find(command_id)
        if not command.revoked:
            _check_followed(f"cancel {command.id}", command)
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

    async def retry(self, command_id: str, *, expires_seconds: float | None = None, most: int | None = None) -> Order:
        """Prepare the same for the devices that did not do it, or of which nobody knows.

        Whoever sends that gives the command; so look at ``again`` of the order, which says who gave it first. Raises UsageProblem when
        there are none, Refused for one that no device would follow.
        """
        running = await self.get(command_id)
        _check_followed(f"send {running.id} again", running.command)
        rows = await running.results()
        again = [row.id for row in rows.values() if to_retry(row)]
        if not again:
            raise UsageProblem(f"send {running.id} again", "no device failed at it, timed out, let it expire or does not know")
        command = running.command
        action = action_of(command.action)
        expires = expires_seconds or min(max(1.0, command.until - command.at), action.max_expiry_seconds)
        note = f"again: {command.id}"
        order = await self.prepare(
            command.action,
            command.args,
            devices=again,
            expires_seconds=expires,
            splay_seconds=min(command.splay_seconds, expires),
            note=note,
            most=most,
        )
        proven = await self._fleet.pins() is not None
        return replace(order, again=command if proven else replace(command, by=f"{command.by} (not checked)"))

    async def _find(self, command_id: str) -> Command:
        return await commandlogs.find(self._fleet.client, command_id, await self._fleet.pins())


def _check_followed(what: str, command: Command) -> None:
    if command.problem:
        why = f"what the hub has of it does not count: {command.problem}"
        raise Refused(what, why, "`edgeagent cmd run` gives a command of your own")


def to_retry(row: Row) -> bool:
    """Whether the device may be asked once more."""
    return row.state in TO_RETRY
