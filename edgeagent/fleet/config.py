"""Configuration as operators read and write it: one signed document a scope, compared and set, so that nobody overwrites another unseen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent import subjects
from edgeagent.config import Document
from edgeagent.direct import get_last, read_all
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.fenced import stored_if
from edgeagent.fleet import configchange, configscope, signers
from edgeagent.fleet.allowed import check_may_store, unless_forbidden
from edgeagent.fleet.configchange import Changes
from edgeagent.fleet.configground import Followed, Ground, ground_of, is_lost
from edgeagent.fleet.configsign import believed_until, check_reaches, check_signed, next_number, signed_document
from edgeagent.fleet.configversion import Version, marked_revoked, ready, scope_of, version_of
from edgeagent.fleet.configwish import Wish, Written, change_of
from edgeagent.fleet.roster import Roster, read_roster
from edgeagent.fleet.states import State, state_of
from edgeagent.subjects import Scope
from edgeagent.trust import signers as signers_document

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["STREAM", "Configuration", "Written"]

STREAM = f"KV_{subjects.CONFIG_BUCKET}"
#: Somebody else may be first; that often in a row is something else.
TRIES = 5
#: Between looks for what refused us, in seconds: the server of a cluster that answers may lag behind the one that refused. 6 ms were seen,
#: and seconds from a server that has just been started again.
LAG_PAUSES = (0.05, 0.1, 0.2, *[0.25] * 20)

Values = Mapping[str, Any]


class Configuration:
    """``fleet.config``: the configuration of the fleet, its groups and devices.

    >>> async with Fleet() as fleet:                                     # doctest: +SKIP
    ...     await fleet.config.set(Scope.group("berlin"), {"app.doors.open": "07:00"}, note="summer")
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def read(self, scope: Scope) -> Version:
        """The newest document; ``is_there`` of it says whether there is one, ``problem`` why devices do not follow it."""
        pins = await self._fleet.pins()
        return version_of(scope, await get_last(self._fleet.client, STREAM, subjects.document(scope), marks=True), pins)

    async def history(self, scope: Scope) -> list[Version]:
        """What the hub has kept of the scope, the oldest first: 64 at most. Each as in :meth:`read`."""
        pins = await self._fleet.pins()
        stored = read_all(self._fleet.client, STREAM, subjects.document(scope), marks=True)
        return [version_of(scope, item, pins) async for item in stored]

    async def documents(self) -> dict[Scope, Version]:
        """The newest document of every scope that ever had one; ``is_there`` of it says whether it still has. Each as in :meth:`read`."""
        pins = await self._fleet.pins()
        stored = read_all(self._fleet.client, STREAM, subjects.kv(subjects.CONFIG_BUCKET, ">"), marks=True)
        found = {scope: item async for item in stored if (scope := scope_of(item.subject))}
        return {scope: version_of(scope, item, pins) for scope, item in found.items()}

    async def check_known(self, scope: Scope) -> None:
        """Raise UsageProblem for a device or group of which the hub knows nothing: no such device, nobody in it, never a document."""
        roster, known = await asyncio.gather(read_roster(self._fleet.client), self.documents())
        groups = [*self._fleet.login.groups, *(other.name for other in known if other.kind == "group")]
        if scope not in known:
            configscope.check_exists(roster, scope, groups, doing="look at")

    async def set(
        self,
        scope: Scope,
        values: Values,
        *,
        note: str = "",
        base: Version | None = None,
        revision: int | None = None,
        force: bool = False,
    ) -> Written:
        """Set some values, by dotted name, and leave the others.

        note: why, for the history. base: the document that these values were chosen upon; None: the newest. What others changed since
        then stays, unless it is what this changes too. revision: only if the newest is still this one.
        force: also for a group or device that is not there yet, and in place of a document that makes no sense.
        Raises Refused when somebody else was first, or the login may not; UsageProblem for what cannot be meant.
        """
        wish = Wish(
            scope=scope,
            edit=lambda before: configchange.assign(before, values),
            note=note,
            base=base,
            revision=revision,
            force=force,
        )
        return await self._change(wish)

    async def unset(
        self, scope: Scope, names: Iterable[str], *, note: str = "", revision: int | None = None, force: bool = False
    ) -> Written:
        """Remove keys, or tables with all below them. Arguments and errors as in :meth:`set`; UsageProblem for one that is not there."""
        gone = list(names)
        wish = Wish(scope=scope, edit=lambda before: configchange.remove(before, gone), note=note, revision=revision, force=force)
        return await self._change(wish)

    async def replace(
        self,
        scope: Scope,
        tables: Values,
        *,
        note: str = "",
        base: Version | None = None,
        revision: int | None = None,
        force: bool = False,
        dry: bool = False,
    ) -> Written:
        """Make the nested ``tables`` the whole document, whatever was there. Any change since ``base`` refuses it.

        dry: write nothing. The others as in :meth:`set`.
        """
        wish = Wish(
            scope=scope,
            edit=lambda _: dict(tables),
            whole=True,
            note=note,
            base=base,
            revision=revision,
            force=force,
            dry=dry,
        )
        return await self._change(wish)

    async def rollback(self, scope: Scope, to: int | None = None, *, note: str = "", revision: int | None = None) -> Written:
        """Make an older document the newest again. to: its revision; None: the one before the newest. Errors as in :meth:`set`."""
        past = await self.history(scope)
        if not past:
            await self.check_known(scope)
        chosen = _older(scope, past, to)
        note = note or f"rollback to revision {chosen.revision}"
        return await self.replace(scope, ready(chosen), note=note, base=past[-1], revision=revision, force=True)

    async def ground(self, scope: Scope, *, force: bool = False) -> Ground:
        """What an edit begins with: the newest document, or in its place the one that devices follow. Errors as in :meth:`set`.

        Who may not write is told here already, before anybody has edited anything.
        """
        roster = await self._admitted(scope, force=force)
        await check_may_store(self._fleet.client, subjects.document(scope), self._forbidden(change_of(scope)))
        return await self._ground(await self.read(scope), roster, time.time())

    async def _admitted(self, scope: Scope, *, force: bool) -> Roster:
        """The roster. Raises UsageProblem when this login may not write there, or there is no such scope."""
        own = self._fleet.login.groups
        configscope.check_own(scope, own)
        roster = await read_roster(self._fleet.client)
        if not force:
            configscope.check_exists(roster, scope, own)
        return roster

    async def _ground(self, base: Version, roster: Roster, now: float) -> Ground:
        scope, latest = base.scope, believed_until(now)
        members, past, newest = configscope.members(roster, scope), [], {}
        followed = Followed.of(scope, members, [base], latest=latest)
        if not followed.agrees(base):
            past = [version for version in await self.history(scope) if version.revision < base.revision]
            if any(followed.latest < version.generation and not version.problem for version in [*past, base]):
                base, *past = marked_revoked([base, *past], await self._revoked())
            followed = Followed.of(scope, members, [*past, base], latest=latest)
            if is_lost(base, past, followed):
                newest = await self.documents()
        return ground_of(base, past, followed, members, newest)

    async def _revoked(self) -> dict[str, int]:
        """Public user keys, and until when what they were issued is revoked, Unix seconds, as the hub says: unchecked."""
        stored = await signers.stored(self._fleet.client)
        try:
            return signers_document.body_of(stored.data).revoked if stored else {}
        except EdgeError:
            return {}

    async def _change(self, wish: Wish) -> Written:
        base = wish.base or await self.read(wish.scope)
        roster = await self._admitted(wish.scope, force=wish.force)
        for _ in range(TRIES):
            wish.check_revision(base)
            ground = await self._ground(base, roster, time.time())
            after = wish.after(ground)
            made = await self._try(wish, ground, after, roster)
            if made is not None:
                return made
            base = await self._after(wish, base, configchange.differences(ground.source.values, after), roster.time)
        raise Refused(wish.what, "somebody else changes it all the time", "try again")

    async def _try(self, wish: Wish, ground: Ground, after: dict[str, Any], roster: Roster) -> Written | None:
        """Write it in place of the base of ``ground``; None when that is not the newest any more."""
        base, now = ground.base, time.time()
        changes = configchange.differences(ground.before, after)
        revision, number, written = base.revision, base.generation, False
        if wish.dry:
            configchange.check(after, wish.what)
        elif changes or ground.again:
            number = next_number(ground.floor, now=now)
            check_reaches(self._fleet.login, number, who=ground.floor_of, what=wish.what, now=now)
            stored = await self._store(wish, after, number, base.revision)
            if stored is None:
                return None
            revision, written = stored, True
        found = configscope.members(roster, wish.scope)
        return Written(
            scope=wish.scope,
            revision=revision,
            generation=number,
            changes=changes,
            written=written,
            devices=len(found),
            present=tuple(known.id for known in found if state_of(known, roster.time) is State.ONLINE),
            warnings=ground.warnings,
        )

    async def _store(self, wish: Wish, values: Values, number: int, revision: int) -> int | None:
        configchange.check(values, wish.what)
        login, subject = self._fleet.login, subjects.document(wish.scope)
        try:
            body = msgspec.json.encode(Document(values=dict(values), note=wish.note))
        except ValueError as error:
            raise UsageProblem(wish.what, str(error)) from None
        data = signed_document(login, wish.scope, body, number=number, now=time.time())
        check_signed(login, wish.scope, data)
        storing = stored_if(self._fleet.client, subject, data, revision, stream=STREAM, what=wish.what)
        return await unless_forbidden(self._fleet.client, subject, storing, self._forbidden(wish.what))

    def _forbidden(self, what: str) -> Refused:
        why = f"the role of {self._fleet.login.name} may not write configuration"
        return Refused(what, why, "ask an operator or an administrator")

    async def _after(self, wish: Wish, base: Version, mine: Changes, began: datetime) -> Version:
        """The newest document. Raises Refused when what others did since ``base`` is in the way of what the wish changes, ``mine``.

        began: when ``base`` was read, by the hub's clock. What is older was only not there yet on the server that answered: nobody who
        did not look at ``base`` himself minds.
        """
        history: list[Version] = []
        for pause in LAG_PAUSES:
            history = [version for version in await self.history(wish.scope) if version.revision > base.revision]
            if history:
                break
            await asyncio.sleep(pause)
        if not history:
            return base
        unseen = wish.base is None and wish.revision is None
        for before, version in zip([base, *history], history, strict=False):
            if unseen and version.time is not None and version.time <= began:
                continue
            theirs = configchange.differences(before.values, version.values)
            touched = list(theirs) if wish.whole or wish.revision is not None else configchange.overlap(theirs, mine)
            if touched or wish.whole or wish.revision is not None:
                raise _overtaken(wish.what, version, touched)
        return history[-1]


def _older(scope: Scope, past: list[Version], to: int | None) -> Version:
    """The revision ``to``; None: the newest document but one."""
    what, there = f"roll the configuration of {scope} back", [version for version in past if version.is_there]
    if to is None:
        older = [version for version in there if version is not past[-1] and not version.problem]
        if not older:
            raise UsageProblem(what, "there is no older one", "`edgeagent config history` shows what the hub has kept")
        return older[-1]
    found = next((version for version in there if version.revision == to), None)
    if found is None:
        known = ", ".join(str(version.revision) for version in there) or "none"
        raise UsageProblem(f"{what} to revision {to}", f"the hub has no such revision of it (there are: {known})")
    return found


def _overtaken(what: str, version: Version, names: list[str]) -> Refused:
    when = version.time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if version.time else "just now"
    changed = ", ".join(names) or "nothing that shows"
    why = f"{version.by or 'somebody'} changed {changed} meanwhile ({when}, revision {version.revision})"
    return Refused(what, why, "look at it with `edgeagent config get`, and do it again; nothing was written")
