"""``file.push``: fetch a file that a person has uploaded, piece by piece, and put it where agent.toml lets files be put.

What counts is the signed command: it names the upload, the size and the sha256, so whoever stores other pieces gains nothing.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta

from edgeagent.actions import DAY, Context, Outcome, action
from edgeagent.builtin.actions._partial import Partial
from edgeagent.builtin.actions._place import Wanted, check_room, is_there, put
from edgeagent.builtin.actions._target import Target, found_below, target_of
from edgeagent.builtin.actions._uploaded import FOLDER, Uploaded, fetch
from edgeagent.errors import Failed
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
)
async def push(context: Context, args: Push) -> Outcome:
    target = target_of(context.machine, args.path, context.settings.file.push)
    if target is None or (missing := _refuse(context.settings, args)):
        return Outcome(
            "refused", f"not allowed here: agent.toml would need {missing if target else '`file.push` to list its folder'}"
        )
    wanted = Wanted(args.bytes, args.sha256, int(args.mode, 8) if args.mode else None)
    value = {"path": args.path, "bytes": args.bytes, "sha256": args.sha256}
    if await asyncio.to_thread(is_there, target, wanted):
        return Outcome("succeeded", value={**value, "unchanged": True})
    partial = Partial(context.settings.state_folder / FOLDER, args.upload)
    if not await _fetched_and_put(context, args, target, wanted, partial):
        return Outcome("cancelled")
    partial.remove()
    return Outcome("succeeded", value={**value, "unchanged": False})


async def _fetched_and_put(context: Context, args: Push, target: Target, wanted: Wanted, partial: Partial) -> bool:
    """False when the command was cancelled. Raises Failed when it is not what was signed."""
    while True:
        kept = min(partial.begin(), args.pieces)
        try:
            check_room(target, wanted, partial.path.parent, args.bytes - min(args.bytes, kept * PIECE_BYTES))
            if not await unless(context.cancelled, fetch(context, args, partial, kept)):
                return False
        except Failed:
            partial.remove()
            raise
        finally:
            partial.close()
        if await asyncio.to_thread(put, target, wanted, partial.path, f".edgeagent-{args.upload}", context.cancelled.is_set):
            return True
        if context.cancelled.is_set():
            return False
        partial.remove()
        if not kept:
            raise Failed(f"write {args.path}", "what the hub has is not what was signed: its sha256 is another", "push it again")
        # What was kept over a power cut may be damaged: once more from the beginning.
