"""``file.push``: fetch a file that a person has uploaded, piece by piece, and put it where agent.toml lets files be put.

What counts is the signed command: it names the upload, the size and the sha256, so whoever stores other pieces gains nothing.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from edgeagent.actions import DAY, Context, Outcome, Transient, action
from edgeagent.actionunits import CLOSED
from edgeagent.builtin.actions._partial import Partial
from edgeagent.builtin.actions._place import Wanted, check_free, check_room, is_there, is_whole, put
from edgeagent.builtin.actions._target import Target, found_below, target_of
from edgeagent.builtin.actions._uploaded import FOLDER, Uploaded, fetch
from edgeagent.errors import Failed
from edgeagent.machine import Machine
from edgeagent.runtime import unless
from edgeagent.settings import Settings
from edgeagent.transfer import PATH_PATTERN, PIECE_BYTES

__all__: list[str] = []

#: One hour at 150 kbit/s is the largest file of the default settings; `cmd retry` goes on where it was.
TIMEOUT_SECONDS = 3600.0

_Path = Annotated[
    str,
    Meta(
        description="Where on the device, an absolute path.",
        pattern=PATH_PATTERN,
        max_length=1024,
        extra={"form": "the absolute path of a file, without `..`"},
    ),
]


class Push(Uploaded, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: _Path
    mode: Annotated[
        str,
        Meta(
            description="Its permissions, such as 600; those of the file that it replaces, else 644.",
            pattern=r"^0?[0-7]{3}\Z|^\Z",
            extra={"form": "three digits such as 644"},
        ),
    ] = ""


def _refuse(settings: Settings, args: Push) -> str:
    wanted = [] if found_below(args.path, settings.file.push) else [f"a folder of `{args.path}` in `file.push`"]
    wanted += [f"`file.max_bytes = {args.bytes}`"] if args.bytes > settings.file.max_bytes else []
    return " and ".join(wanted)


def _wanted(args: Push) -> Wanted:
    return Wanted(args.bytes, args.sha256, int(args.mode, 8) if args.mode else None)


def _put_already(args: Push, *, unchanged: bool) -> Outcome:
    return Outcome("succeeded", value={"path": args.path, "bytes": args.bytes, "sha256": args.sha256, "unchanged": unchanged})


def _look(settings: Settings, machine: Machine, args: Push) -> Outcome | None:
    """Whether it is there already. Raises Failed when it cannot be put there."""
    target = target_of(machine, args.path, settings.file.push)
    assert target is not None  # else it had been refused
    return _put_already(args, unchanged=True) if is_there(target, _wanted(args)) else None


async def _in_unit(context: Context, args: Push) -> Outcome:
    """Put in its place what the agent has fetched. It is compared once more: the agent can still change it."""
    target, content = target_of(context.machine, args.path, context.settings.file.push), context.content
    assert target is not None and content is not None
    check_room(target, _wanted(args), target.root, 0)
    with os.fdopen(content, "rb") as source:
        done = await asyncio.to_thread(put, target, _wanted(args), source, f".edgeagent-{args.upload}", context.cancelled.is_set)
    if done:
        return _put_already(args, unchanged=False)
    if context.cancelled.is_set():
        return Outcome("cancelled")
    raise Failed(f"write {args.path}", "what was fetched is not what was signed: its sha256 is another", "push it again")


def _open_folder(settings: Settings, args: Push) -> tuple[str, ...]:
    """The listed folder is all that can be written, with the rights of all users where root does it."""
    folder, _ = found_below(args.path, settings.file.push) or ("", ())
    quoted = folder.replace("\\", "\\\\").replace('"', '\\"')
    return (f'ReadWritePaths="-{quoted}"', "CapabilityBoundingSet=CAP_DAC_OVERRIDE")


@action(
    "file.push",
    arguments=Push,
    description="Put a file in its place that was uploaded for it.",
    default_expiry_seconds=7 * DAY,
    max_expiry_seconds=7 * DAY,
    timeout_seconds=TIMEOUT_SECONDS,
    idempotent=True,
    dangerous=True,
    refuse=_refuse,
    unit=Transient(run=_in_unit, look=_look, properties=CLOSED, more=_open_folder),
)
async def push(context: Context, args: Push) -> Outcome:
    target = target_of(context.machine, args.path, context.settings.file.push)
    if target is None or (missing := _refuse(context.settings, args)):
        return Outcome(
            "refused", f"not allowed here: agent.toml would need {missing if target else '`file.push` to list its folder'}"
        )
    place: _Place = _There(context, args) if context.units is not None else _Here(context, args, target)
    if (already := await place.look()) is not None:
        return already
    partial = Partial(context.settings.state_folder / FOLDER, args.upload)
    outcome = await _fetched_and_put(context, args, place, partial)
    if outcome.state == "succeeded":
        partial.remove()
    return outcome


class _Place(Protocol):
    """Where the file comes to, from here."""

    async def look(self) -> Outcome | None: ...

    def check_room(self, store: Path, to_fetch: int) -> None: ...

    async def put(self, source: Path) -> Outcome | None:
        """None: it is not what was signed."""


@dataclass(frozen=True)
class _Here:
    context: Context
    args: Push
    target: Target

    async def look(self) -> Outcome | None:
        return await asyncio.to_thread(_look, self.context.settings, self.context.machine, self.args)

    def check_room(self, store: Path, to_fetch: int) -> None:
        check_room(self.target, _wanted(self.args), store, to_fetch)

    async def put(self, source: Path) -> Outcome | None:
        stop = self.context.cancelled.is_set
        with source.open("rb") as content:
            done = await asyncio.to_thread(put, self.target, _wanted(self.args), content, f".edgeagent-{self.args.upload}", stop)
        return _put_already(self.args, unchanged=False) if done else None


@dataclass(frozen=True)
class _There:
    """A unit that has the rights puts it in its place; we fetch it, and hand it over open."""

    context: Context
    args: Push

    async def look(self) -> Outcome | None:
        assert self.context.units is not None
        found = await self.context.units.look(self.context, "file.push", msgspec.to_builtins(self.args))
        return found if isinstance(found, Outcome) else None

    def check_room(self, store: Path, to_fetch: int) -> None:
        """Of the place the unit knows."""
        check_free(os.statvfs(store), str(store), to_fetch, self.args.path)

    async def put(self, source: Path) -> Outcome | None:
        assert self.context.units is not None
        with source.open("rb") as content:
            if not await asyncio.to_thread(is_whole, content, _wanted(self.args), self.context.cancelled.is_set):
                return None
            content.seek(0)
            args = msgspec.to_builtins(self.args)
            return await self.context.units.run(self.context, "file.push", args, content=content.fileno())


async def _fetched_and_put(context: Context, args: Push, place: _Place, partial: Partial) -> Outcome:
    """Raises Failed when it is not what was signed."""
    while True:
        kept = min(partial.begin(), args.pieces)
        try:
            place.check_room(partial.path.parent, args.bytes - min(args.bytes, kept * PIECE_BYTES))
            if not await unless(context.cancelled, fetch(context, args, partial, kept)):
                return Outcome("cancelled")
        except Failed:
            partial.remove()
            raise
        finally:
            partial.close()
        if (outcome := await place.put(partial.path)) is not None:
            return outcome
        if context.cancelled.is_set():
            return Outcome("cancelled")
        partial.remove()
        if not kept:
            raise Failed(f"write {args.path}", "what the hub has is not what was signed: its sha256 is another", "push it again")
        # What was kept over a power cut may be damaged: once more from the beginning.
