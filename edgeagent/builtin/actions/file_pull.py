"""``file.pull``: hand over a file of a folder that agent.toml lists. Its pieces go to the hub, where people fetch them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import aclosing
from typing import Annotated

import msgspec
from msgspec import Meta

from edgeagent.actions import DAY, Arguments, Context, Outcome, Transient, action
from edgeagent.builtin.actions._target import Target, found_below, target_of
from edgeagent.errors import Failed
from edgeagent.machine import Machine
from edgeagent.patterns.pieces import moved
from edgeagent.runtime import unless
from edgeagent.settings import Settings
from edgeagent.transfer import PATH_PATTERN, PIECE_BYTES, PIECE_HEADER, UPLOAD_HEADER, HandedOver, new_digest, new_upload

__all__: list[str] = []

TIMEOUT_SECONDS = 3600.0


class Pull(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Annotated[
        str,
        Meta(
            description="Which file of the device, an absolute path.",
            pattern=PATH_PATTERN,
            max_length=1024,
            extra={"form": "the absolute path of a file, without `..`"},
        ),
    ]


def _refuse(settings: Settings, args: Pull) -> str:
    return "" if found_below(args.path, settings.file.pull) else f"a folder of `{args.path}` in `file.pull`"


def _look(settings: Settings, machine: Machine, args: Pull) -> int:
    """A descriptor of the file. Raises Failed when it cannot be handed over."""
    target = target_of(machine, args.path, settings.file.pull)
    assert target is not None  # else it had been refused
    descriptor = _opened(target)
    size, most = os.fstat(descriptor).st_size, settings.file.max_bytes
    if size > most:
        os.close(descriptor)
        why = f"it has {size:,} bytes, and this device hands over {most:,} at most"
        raise Failed(f"read {args.path}", why, f"agent.toml would need `file.max_bytes = {size}`")
    return descriptor


@action(
    "file.pull",
    arguments=Pull,
    description="Hand over a file.",
    default_expiry_seconds=7 * DAY,
    max_expiry_seconds=7 * DAY,
    timeout_seconds=TIMEOUT_SECONDS,
    idempotent=True,
    refuse=_refuse,
    unit=Transient(look=_look),
)
async def pull(context: Context, args: Pull) -> Outcome:
    if missing := _refuse(context.settings, args):
        return Outcome("refused", f"not allowed here: agent.toml would need {missing}")
    if context.units is None:
        reading = _Reading(_look(context.settings, context.machine, args))
    else:
        found = await context.units.look(context, "file.pull", msgspec.to_builtins(args))
        if not isinstance(found, int):
            return found or Outcome("failed", "nothing was handed over")
        reading = _Reading(found)
    try:
        if not await unless(context.cancelled, _hand_over(context, reading)):
            return Outcome("cancelled")
    finally:
        reading.close()
    return Outcome("succeeded", value=msgspec.to_builtins(reading.handed_over()))


def _opened(target: Target) -> int:
    """A descriptor of the file. Raises Failed when it cannot be handed over."""
    folder = target.open_folder()
    try:
        descriptor = target.open_file(folder)
    finally:
        os.close(folder)
    if descriptor is None:
        raise Failed(f"read {target.path}", "there is no such file")
    # Whoever may write in a listed folder could give any file of the same disk another name there.
    if os.fstat(descriptor).st_nlink != 1:
        os.close(descriptor)
        raise Failed(f"read {target.path}", "it has another name elsewhere (a hard link)", "copy it, and hand over the copy")
    return descriptor


class _Reading:
    """A file while it is read, once and in order: it may grow or shrink meanwhile, and what was read counts."""

    def __init__(self, descriptor: int) -> None:
        self._file, self._digest, self._bytes = descriptor, new_digest(), 0
        self._size = os.fstat(descriptor).st_size
        self.upload, self.first = new_upload(), 0

    def close(self) -> None:
        os.close(self._file)

    @property
    def part(self) -> float:
        """How much of it was read, 0 to 1."""
        return self._bytes / self._size if self._size else 1.0

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Each piece with its number."""
        number = 0
        while data := os.pread(self._file, min(PIECE_BYTES, self._size - self._bytes), self._bytes):
            number += 1
            self._digest.update(data)
            self._bytes += len(data)
            yield number, data
            if len(data) < PIECE_BYTES:
                return

    def stored(self, sequence: int) -> None:
        self.first = min(self.first or sequence, sequence)

    def handed_over(self) -> HandedOver:
        pieces = -(-self._bytes // PIECE_BYTES)
        return HandedOver(upload=self.upload, bytes=self._bytes, sha256=self._digest.hexdigest(), pieces=pieces, first=self.first)


async def _hand_over(context: Context, reading: _Reading) -> None:
    async def piece(item: tuple[int, bytes], seconds: float) -> int:
        number, data = item
        return await context.store("file", data, {UPLOAD_HEADER: reading.upload, PIECE_HEADER: str(number)}, seconds)

    told = 0
    async with aclosing(moved(reading.pieces(), piece)) as sequences:
        async for sequence in sequences:
            reading.stored(sequence)
            if int(reading.part * 10) > told:
                told = int(reading.part * 10)
                context.write(f"{told * 10} %\n".encode())
