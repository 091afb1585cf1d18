"""A file that a device has handed over: its pieces are read from the hub, checked, and put in place whole."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from edgeagent import files, subjects
from edgeagent.backoff import delays
from edgeagent.direct import Stored, read_all
from edgeagent.errors import Failed, Refused, Unreachable
from edgeagent.fleet import fileroom
from edgeagent.fleet.commandstatus import Row
from edgeagent.link import Client
from edgeagent.transfer import PIECE_BYTES, PIECE_HEADER, UPLOAD_HEADER, HandedOver, length_of

__all__ = ["Download", "handed_over"]

#: How often reading is begun where it broke off, without a new piece in between.
TRIES = 6
_RETRY_SECONDS = (0.5, 5.0)
_CHUNK_BYTES = 1 << 20


def handed_over(row: Row) -> HandedOver:
    """What the device says of it. Raises Failed when that makes no sense."""
    try:
        return msgspec.convert(row.result.value, HandedOver)
    except msgspec.ValidationError as error:
        raise Failed(f"fetch the file of {row.id}", f"what it answered makes no sense ({error})") from None


class Download:
    """The content of ``found``, in a temporary file that is gone once this is closed."""

    def __init__(self, found: HandedOver) -> None:
        self.found = found
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        self._have: set[int] = set()

    async def fetch(self, client: Client, device: str, progress: Callable[[int], None]) -> None:
        """Read it from the hub. progress: is told how many bytes are there. Raises Failed when it is not there, or not what was said."""
        what = f"fetch the file of {device}"
        last, kept = await fileroom.uploads(client, what)
        if self.found.pieces > kept:
            why = f"it has {self.found.bytes:,} bytes, and the hub keeps {kept * PIECE_BYTES:,} of one device"
            raise Failed(what, why, "a larger `store_max_bytes` of the hub makes room")
        first, pauses, failures = max(1, self.found.first), delays(*_RETRY_SECONDS), 0
        while not self._is_whole:
            try:
                async for sequence in self._read(client, device, first, last):
                    first, failures = sequence + 1, 0
                    progress(self._bytes())
                break
            except Unreachable:
                failures += 1
                if failures == TRIES:
                    raise
                await asyncio.sleep(next(pauses))
        if not self._is_whole:
            why = f"the hub has {len(self._have)} of its {self.found.pieces} pieces (any more)"
            raise Failed(what, why, "pull it again")
        await asyncio.to_thread(self._check, what)

    @property
    def _is_whole(self) -> bool:
        return len(self._have) == self.found.pieces

    async def _read(self, client: Client, device: str, first: int, last: int) -> AsyncGenerator[int, None]:
        """Take the device's messages from ``first`` to ``last`` until none is missing; the sequence of each."""
        async with aclosing(read_all(client, subjects.UPLOADS, subjects.file_upload(device), first=first)) as pieces:
            async for piece in pieces:
                if piece.sequence > last:  # it may go on writing for ever
                    return
                self._take(piece)
                yield piece.sequence
                if self._is_whole:
                    return

    def _take(self, piece: Stored) -> None:
        """Another upload's, another's number or a wrong length says nothing: the same piece may come again."""
        if piece.headers.get(UPLOAD_HEADER) != self.found.upload:
            return
        text = piece.headers.get(PIECE_HEADER, "")
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 15 else 0
        if (
            0 < number <= self.found.pieces
            and number not in self._have
            and len(piece.data) == length_of(number, self.found.bytes)
        ):
            self._file.seek((number - 1) * PIECE_BYTES)
            self._file.write(piece.data)
            self._have.add(number)

    def _bytes(self) -> int:
        return min(self.found.bytes, len(self._have) * PIECE_BYTES)

    def _check(self, what: str) -> None:
        digest = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            digest.update(chunk)
        if digest.hexdigest() != self.found.sha256:
            raise Failed(what, "what the hub has is not what the device says: its sha256 is another", "pull it again")

    def copy_to(self, out: BinaryIO) -> None:
        """Write all of it to ``out``."""
        self._file.seek(0)
        shutil.copyfileobj(self._file, out, _CHUNK_BYTES)

    def write_to(self, target: Path, *, overwrite: bool) -> None:
        """Make it the content of the file ``target``: all of it or nothing. Raises Refused when there is one, unless ``overwrite``."""
        temporary = target.parent / f".{secrets.token_hex(8)}.part"
        taken = False
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as out:  # noqa: PTH123  # a descriptor
                self.copy_to(out)
                out.flush()
                os.fsync(out.fileno())
            taken = target.exists() and not overwrite
            if not taken:
                temporary.replace(target)
        except OSError as error:
            raise files.failure(f"write {target}", error) from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if taken:
            raise Refused(f"write {target}", "it is there meanwhile", "say --force to replace it")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Download:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
