"""Configuration as operators read and write it: one signed document a scope, compared and set, so that nobody overwrites another unseen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent import subjects
from edgeagent.config import Document
from edgeagent.direct import get_last, read_all
from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.fleet import configchange, configscope
from edgeagent.fleet.allowed import unless_forbidden
from edgeagent.fleet.configchange import Changes
from edgeagent.fleet.configsign import check_signed, next_number, signed_document
from edgeagent.fleet.configversion import Version, ready, version_of
from edgeagent.fleet.roster import Roster, read_roster
from edgeagent.fleet.states import State, state_of
from edgeagent.publish import published_if
from edgeagent.subjects import Scope

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["STREAM", "Configuration", "Written"]

STREAM = f"KV_{subjects.CONFIG_BUCKET}"
#: Somebody else may be first; that often in a row is something else.
TRIES = 5

Values = Mapping[str, Any]
#: From what is there to what shall be there, both as nested tables.
Edit = Callable[[Values], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Written:
    """revision, generation: of the document that counts now. changes: from the one before.

    written: False when nothing was, because nothing changes or only a try was wanted. devices, online: how many follow the scope, and
    how many of them are online.
    """

    scope: Scope
    revision: int
    generation: int
    changes: Changes
    written: bool
    devices: int
    online: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        changed = {name: list(pair) for name, pair in self.changes.items()}
        return {"scope": str(self.scope), "revision": self.revision, "generation": self.generation, "changed": changed}


@dataclass(frozen=True, kw_only=True)
class _Wish:
    """What to write. whole: it replaces all, so any change of somebody else's refuses it. The rest as in :meth:`Configuration.set`."""

    scope: Scope
    edit: Edit
    whole: bool = False
    note: str = ""
    base: Version | None = None
    revision: int | None = None
    force: bool = False
    dry: bool = False

    @property
    def what(self) -> str:
        return f"change the configuration of {self.scope}"


class Configuration:
    """``fleet.config``: the configuration of the fleet, its groups and devices.

    >>> async with Fleet() as fleet:                                     # doctest: +SKIP
    ...     await fleet.config.set(Scope.group("berlin"), {"app.doors.open": "07:00"}, note="summer")
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def read(self, scope: Scope) -> Version:
        """The newest document, unchecked; ``is_there`` of it says whether there is one."""
        return version_of(scope, await get_last(self._fleet.client, STREAM, subjects.document(scope), marks=True))

    async def history(self, scope: Scope) -> list[Version]:
        """What the hub has kept of the scope, the oldest first, unchecked: 64 at most."""
        stored = read_all(self._fleet.client, STREAM, subjects.document(scope), marks=True)
        return [version_of(scope, item) async for item in stored]

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
        wish = _Wish(
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
        wish = _Wish(
            scope=scope, edit=lambda before: configchange.remove(before, gone), note=note, revision=revision, force=force
        )
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
        wish = _Wish(
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
        chosen = _older(scope, past, to)
        note = note or f"rollback to revision {chosen.revision}"
        return await self.replace(scope, ready(chosen), note=note, base=past[-1], revision=revision, force=True)

    async def _change(self, wish: _Wish) -> Written:
        own = self._fleet.login.groups
        configscope.check_own(wish.scope, own)
        base = wish.base or await self.read(wish.scope)
        roster = await read_roster(self._fleet.client)
        if not wish.force:
            configscope.check_exists(roster, wish.scope, own)
        for _ in range(TRIES):
            _check_revision(wish, base)
            made = await self._try(wish, base, roster)
            if made is not None:
                return made
            base = await self._after(wish, base)
        raise Refused(wish.what, "somebody else changes it all the time", "try again")

    async def _try(self, wish: _Wish, base: Version, roster: Roster) -> Written | None:
        """Write it on top of ``base``; None when that is not the newest any more."""
        after = wish.edit({} if wish.whole or _starts_anew(wish, base) else ready(base))
        changes = configchange.differences(base.values, after)
        revision, number, written = base.revision, base.generation, False
        if wish.dry:
            configchange.check(after, wish.what)
        elif changes or base.problem or _is_behind(base, roster):
            number = next_number(await self._last(base), self._fleet.login, now=time.time())
            stored = await self._store(wish, after, number, base.revision)
            if stored is None:
                return None
            revision, written = stored, True
        found = configscope.members(roster, wish.scope)
        online = sum(state_of(known, roster.time) is State.ONLINE for known in found)
        return Written(
            scope=wish.scope,
            revision=revision,
            generation=number,
            changes=changes,
            written=written,
            devices=len(found),
            online=online,
        )

    async def _last(self, base: Version) -> int:
        """The generation that the next one must be newer than."""
        if not base.deleted:
            return base.generation
        return max((version.generation for version in await self.history(base.scope)), default=0)

    async def _store(self, wish: _Wish, values: Values, number: int, revision: int) -> int | None:
        configchange.check(values, wish.what)
        login, subject = self._fleet.login, subjects.document(wish.scope)
        try:
            body = msgspec.json.encode(Document(values=dict(values), note=wish.note))
        except ValueError as error:
            raise UsageProblem(wish.what, str(error)) from None
        data = signed_document(login, wish.scope, body, number=number, now=time.time())
        check_signed(login, wish.scope, data)
        refusal = Refused(
            wish.what, f"the role of {login.name} may not write configuration", "ask an operator or an administrator"
        )
        storing = published_if(self._fleet.client, subject, data, revision, what=wish.what)
        return await unless_forbidden(self._fleet.client, subject, storing, refusal)

    async def _after(self, wish: _Wish, base: Version) -> Version:
        """The newest document. Raises Refused when what others did since ``base`` is in the way of the wish."""
        history = [version for version in await self.history(wish.scope) if version.revision > base.revision]
        if not history:
            await asyncio.sleep(0.05)  # a server of a cluster may lag behind the one that refused (6 ms were seen)
            return base
        mine = configchange.differences(base.values, wish.edit({} if wish.whole else base.values))
        for before, version in zip([base, *history], history, strict=False):
            theirs = configchange.differences(before.values, version.values)
            touched = list(theirs) if wish.whole or wish.revision is not None else configchange.overlap(theirs, mine)
            if touched or wish.whole or wish.revision is not None:
                raise _overtaken(wish.what, version, touched)
        return history[-1]


def _starts_anew(wish: _Wish, base: Version) -> bool:
    if not wish.force:
        return False
    try:
        ready(base)
    except Refused:
        return True
    return False


def _is_behind(base: Version, roster: Roster) -> bool:
    """Whether devices follow a newer document than the hub has: it was restored or wiped, and the same must be said again."""
    states = [known.config.scopes.get(str(base.scope)) for known in configscope.members(roster, base.scope) if known.config]
    return any(state is not None and state.applied > base.generation for state in states)


def _check_revision(wish: _Wish, base: Version) -> None:
    if wish.revision is not None and wish.revision != base.revision:
        raise Refused(
            wish.what, f"the newest is revision {base.revision}{f' by {base.by}' if base.by else ''}, not {wish.revision}"
        )


def _older(scope: Scope, past: list[Version], to: int | None) -> Version:
    """The revision ``to``; None: the newest document but one."""
    what, there = f"roll the configuration of {scope} back", [version for version in past if version.is_there]
    if to is None:
        older = [version for version in there if version is not past[-1]]
        if not older:
            raise Failed(what, "there is no older one", "`edgeagent config history` shows what the hub has kept")
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
