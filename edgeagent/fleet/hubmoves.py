"""Sending devices to another hub: what to write for it, and who has come there. :mod:`edgeagent.leaf.hubchoice` is the devices' side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edgeagent import config, servers
from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.fleet.configversion import Version
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.states import Known, State, state_of
from edgeagent.subjects import Scope

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = [
    "KEY",
    "Move",
    "Progress",
    "Row",
    "Where",
    "check_entries",
    "client_url",
    "entries_before",
    "follow",
    "rows_of",
    "trusted_url",
]

KEY = "hub.urls"
#: How often both hubs are read, in seconds; each read is of the whole roster.
LOOK_SECONDS = 1.0


class Where(str, Enum):
    """What became of a device. MOVED: it has reported at the new hub. STAYED: it says that it can't go there. WAITING: it has said nothing
    yet. AWAY: it was not online when it began; it goes there when it comes back."""

    MOVED = "moved"
    STAYED = "stayed"
    WAITING = "waiting"
    AWAY = "away"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Row:
    """One device. at: the entry that its leaf is told, as it said last. why: it stayed."""

    id: str
    where: Where
    at: str = ""
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"id": self.id, "where": str(self.where), "at": self.at or None, "why": self.why or None}


@dataclass(frozen=True)
class Progress:
    rows: list[Row]

    def of(self, where: Where) -> list[str]:
        return [row.id for row in self.rows if row.where is where]


def check_entries(entries: Sequence[str]) -> None:
    """Raise UsageProblem for what no device would take."""
    problems = config.invalid({"hub": {"urls": list(entries)}})
    if problems:
        raise UsageProblem("move to this hub", "; ".join(problems), "servers of one hub are written with commas")


def client_url(entry: str, current: str) -> str:
    """Where people probably reach the hub of ``entry``: as they do the ``current`` one, on the other hosts. Pure."""
    known = urlsplit((servers.split(current) or [current])[0])
    hosts = (urlsplit(url).hostname or "" for url in servers.split(entry))
    port = f":{known.port}" if known.port else ""
    return servers.joined(f"{known.scheme}://{f'[{host}]' if ':' in host else host}{port}" for host in hosts)


def trusted_url(entries: Sequence[str], current: str, *, is_hearsay: bool) -> str:
    """:func:`client_url` of the first entry. is_hearsay: devices said that they were there; nobody signed it.

    Raises UsageProblem for hearsay: a device must not be able to tell a person where to log in. Pure.
    """
    if is_hearsay or not entries:
        said = ", ".join(entries[:3])
        why = (
            f"where they were before is known from themselves alone ({said})"
            if said
            else "it is not known where they were before"
        )
        raise UsageProblem("move the devices", why, "name that hub as you reach it: --client-url URL")
    return client_url(entries[0], current)


def entries_before(history: Sequence[Version]) -> list[str] | None:
    """What the scope said before it said what it says now; None: nothing, so the wider scopes, or the devices' own addresses, counted.

    history: the oldest first. Raises UsageProblem when it says nothing now. Pure.
    """
    values = [config.flat(version.values).get(KEY) for version in history if version.is_there and not version.problem]
    if not values or values[-1] is None:
        raise UsageProblem("go back", "no hub is set there, so nobody was sent anywhere", "name the same group or device as then")
    older = [value for value in values if value != values[-1]]
    return older[-1] if older else None


@dataclass(frozen=True, kw_only=True)
class Move:
    """ids: of the devices. entries: where they go. present: who was online when it began; since: when that was, by the new hub's clock.
    scope, generation: of the document that sends them."""

    ids: Sequence[str]
    entries: Sequence[str]
    present: frozenset[str]
    since: datetime
    scope: Scope
    generation: int


def rows_of(move: Move, here: Roster | None, there: Roster | None) -> Progress:
    """Where each device is. here, there: what the old and the new hub know; None: they can't be asked. Pure."""
    return Progress([_row(move, device, here, there) for device in move.ids])


def _row(move: Move, device: str, here: Roster | None, there: Roster | None) -> Row:
    old = here.devices.get(device) if here else None
    new = there.devices.get(device) if there else None
    if new and there and _is_there(move, new) and state_of(new, there.time) is State.ONLINE:
        return Row(id=device, where=Where.MOVED, at=_at(new))
    failed = _failed(move, old) if old else {}
    if old and failed:
        return Row(id=device, where=Where.STAYED, at=_at(old), why="; ".join(f"{entry}: {why}" for entry, why in failed.items()))
    return Row(id=device, where=Where.WAITING if device in move.present else Where.AWAY, at=_at(old) if old else "")


def _at(known: Known) -> str:
    return known.report.hub.url if known.report and known.report.hub else ""


def _is_there(move: Move, known: Known) -> bool:
    """A restored hub has reports of before."""
    return _at(known) in move.entries and known.heard is not None and known.heard >= move.since


def _failed(move: Move, known: Known) -> dict[str, str]:
    """The entries that it gave up since it was sent there, and why; or the document itself."""
    state = known.config.scopes.get(str(move.scope)) if known.config else None
    if state is None or state.desired < move.generation:
        return {}
    if state.applied < move.generation:
        return {KEY: state.error} if state.error else {}
    given_up = known.report.hub.failed if known.report and known.report.hub else {}
    found = {entry: why for entry, why in given_up.items() if entry in move.entries}
    return found or ({KEY: state.error} if state.error.startswith(f"{KEY}: ") else {})


async def follow(here: Fleet, there: Fleet, move: Move) -> AsyncGenerator[Progress, None]:
    """Where the devices are, again and again, for ever."""
    while True:
        old, new = await asyncio.gather(_roster(here), _roster(there))
        yield rows_of(move, old, new)
        await asyncio.sleep(LOOK_SECONDS)


async def _roster(fleet: Fleet) -> Roster | None:
    try:
        return await fleet.roster()
    except EdgeError:
        return None
