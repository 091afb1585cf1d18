"""A file of this machine that is uploaded for devices: read once for its sha256, which is signed, and again for its pieces."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from edgeagent import files, subjects
from edgeagent.direct import get_last
from edgeagent.errors import Failed, StoreFull, UsageProblem
from edgeagent.fleet.fileroom import store_full
from edgeagent.link import Client
from edgeagent.patterns.pieces import moved
from edgeagent.publish import published_if
from edgeagent.transfer import PIECE_BYTES, new_upload, pieces_of

__all__ = ["Source", "read", "store"]

#: How often a piece is tried before the hub is called unreachable.
TRIES = 6
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file as it was when its sha256 was taken. upload: the id of its upload."""

    path: Path
    size: int
    sha256: str
    upload: str = field(default_factory=new_upload)

    @property
    def pieces(self) -> int:
        return pieces_of(self.size)

    def subject(self, number: int) -> str:
        """Where piece ``number`` is stored."""
        return subjects.file_piece(self.upload, number)

    def uploaded(self) -> dict[str, Any]:
        """What a command says of it, whatever is done with it."""
        return {"upload": self.upload, "pieces": self.pieces, "bytes": self.size, "sha256": self.sha256}

    def arguments(self, to: str, mode: str = "") -> dict[str, Any]:
        """Of the command ``file.push``. to: the path on the device. mode: octal digits, empty for none."""
        said = {"mode": mode} if mode else {}
        return {**self.uploaded(), "path": to, **said}


async def read(path: Path) -> Source:
    """The file ``path`` now. Raises UsageProblem when it is no file, EdgeError when it can't be read."""
    if path.exists() and not path.is_file():
        raise UsageProblem(f"upload {path}", "it is no file", "pack a folder first (`tar czf`)")
    return await asyncio.to_thread(_read, path)


def _read(path: Path) -> Source:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise files.failure(f"read {path}", error) from None
    return Source(path, size, digest.hexdigest())


async def store(client: Client, source: Source, progress: Callable[[int], None], there: Collection[int] = frozenset()) -> None:
    """Store every piece, acknowledged. progress: is told how many bytes are there. there: numbers of pieces that the hub has already.

    Raises Failed when the file is another one now.
    """

    async def piece(item: tuple[int, bytes], seconds: float) -> int:
        if item[0] not in there:
            await _store_piece(client, source, *item, seconds)
        return len(item[1])

    done, digest = 0, hashlib.sha256()
    try:
        stream = source.path.open("rb")
    except OSError as error:
        raise files.failure(f"read {source.path}", error) from None
    with stream:
        async with aclosing(moved(_pieces(stream, digest), piece, tries=TRIES)) as sizes:
            async for size in sizes:
                done += size
                progress(done)
    if done != source.size or digest.hexdigest() != source.sha256:
        raise Failed(f"upload {source.path.name}", "it changed while it was uploaded", "try again once nobody writes to it")


def _pieces(stream: BinaryIO, digest: Any) -> Iterator[tuple[int, bytes]]:
    number = 0
    while data := stream.read(PIECE_BYTES):
        number += 1
        digest.update(data)
        yield number, data


async def _store_piece(client: Client, source: Source, number: int, data: bytes, seconds: float) -> None:
    what, subject = f"upload {source.path.name}", source.subject(number)
    try:
        if await published_if(client, subject, data, 0, what=what, timeout=seconds) is not None:
            return
    except StoreFull as error:  # it is not tried again here, as an answer that got lost is
        raise Failed(what, error.why, error.remedy) from None
    except Failed as error:
        raise store_full(what) if "maximum bytes" in error.why else error from None
    stored = await get_last(client, subjects.FILES, subject, timeout=seconds)
    if stored is None or stored.data != data:  # else only the acknowledgement got lost
        raise Failed(what, "somebody else has stored something in its place", "try again")
